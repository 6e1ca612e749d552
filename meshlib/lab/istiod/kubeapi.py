"""A lean asyncio client of the Kubernetes API: read, write, list in pages, watch.

The official client costs 100 MB of memory and a thread for every watch; istiod needs twenty of them.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml

from meshlib.errors import ClusterError, LabError
from meshlib.lab.istiod.pairs import load_pair

Obj = dict[str, Any]

PAGE = 500
WATCH_S = 290
"""How long a watch is asked for; the API server ends it then and it is resumed."""


@dataclass(frozen=True)
class Access:
    """Where the API server is and with what to speak to it."""

    server: str
    ca_pem: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    pair: tuple[str, str] | None = field(default=None, repr=False)
    """Client certificate and key, PEM."""

    def bearer(self) -> str:
        """The token of this moment; a token in a file is renewed there."""
        return self.token_file.read_text().strip() if self.token_file else self.token


def read_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig: token, token file or client certificate, inline or in files.

    Raises LabError when the file or a part that is needed is not there.
    """
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config, "contexts", "context", config["current-context"])
        cluster = _named(config, "clusters", "cluster", context["cluster"])
        user = _named(config, "users", "user", context["user"])
        return Access(
            server=cluster["server"].rstrip("/"),
            ca_pem=_pem(path.parent, cluster, "certificate-authority"),
            token=user.get("token", ""),
            token_file=path.parent / user["tokenFile"] if "tokenFile" in user else None,
            pair=_pair(path.parent, user),
        )
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise LabError(f"the kubeconfig {path} cannot be used: {error!r}") from error


def _pair(folder: Path, user: Mapping[str, Any]) -> tuple[str, str] | None:
    if not any(key.startswith("client-certificate") for key in user):
        return None
    return _pem(folder, user, "client-certificate"), _pem(folder, user, "client-key")


def _pem(folder: Path, entry: Mapping[str, Any], key: str) -> str:
    if f"{key}-data" in entry:
        return base64.b64decode(str(entry[f"{key}-data"])).decode()
    return (folder / str(entry[key])).read_text()


def _named(config: Mapping[str, Any], plural: str, singular: str, name: str) -> Mapping[str, Any]:
    for entry in config[plural]:
        if entry["name"] == name:
            found: Mapping[str, Any] = entry[singular]
            return found
    raise KeyError(f"{plural}: {name}")


class Expired(ClusterError):
    """The resourceVersion of a watch is too old (410); list again."""


class KubeApi:
    """Calls against one API server; every failure is a ClusterError with the server's own words."""

    def __init__(self, access: Access) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=access.ca_pem)
        if access.pair:
            load_pair(context, *access.pair)
        self._access = access
        self._http = httpx.AsyncClient(
            base_url=access.server,
            verify=context,
            trust_env=False,
            timeout=httpx.Timeout(30.0, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=8),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def call(
        self, method: str, path: str, body: Obj | list[Obj] | None = None, *, kind: str = "application/json"
    ) -> Obj:
        """One request; the answer's JSON.  Raises ClusterError with the Status object's words."""
        headers = self._headers() | ({"Content-Type": kind} if body is not None else {})
        content = msgspec.json.encode(body) if body is not None else None
        try:
            answer = await self._http.request(method, path, headers=headers, content=content)
        except httpx.HTTPError as error:
            raise ClusterError(f"{method} {path}: {error!r}") from error
        if answer.status_code >= 300:
            raise _refusal(f"{method} {path}", answer.status_code, answer.content)
        found: Obj = msgspec.json.decode(answer.content)
        return found

    async def list_all(self, path: str) -> tuple[list[Obj], str]:
        """All objects of a collection, page by page, and the resourceVersion to watch from."""
        items: list[Obj] = []
        more = ""
        while True:
            page = await self.call("GET", f"{path}?limit={PAGE}" + (f"&continue={more}" if more else ""))
            kind = page["kind"].removesuffix("List")
            items.extend({"apiVersion": page["apiVersion"], "kind": kind, **item} for item in page["items"])
            more = page["metadata"].get("continue") or ""
            if not more:
                return items, page["metadata"]["resourceVersion"]

    async def watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Obj]]:
        """Events (`ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, object) until the server ends the watch.

        Raises Expired when `version` is too old, ClusterError for any other failure.
        """
        query = (
            f"{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_S}"
        )
        patience = httpx.Timeout(30.0, read=WATCH_S + 30.0, pool=None)
        try:
            async with self._http.stream("GET", query, headers=self._headers(), timeout=patience) as answer:
                if answer.status_code >= 300:
                    raise _refusal(f"watch {path}", answer.status_code, await answer.aread())
                async for line in _lines(answer):
                    event = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        raise _refusal(
                            f"watch {path}", int(event["object"].get("code", 0)), line, event["object"]
                        )
                    yield event["type"], event["object"]
        except httpx.HTTPError as error:
            raise ClusterError(f"watch {path}: {error!r}") from error

    def _headers(self) -> dict[str, str]:
        bearer = self._access.bearer()
        plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
        return plain | ({"Authorization": f"Bearer {bearer}"} if bearer else {})


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The lines of a stream as bytes; httpx's own iterator decodes every chunk to text first."""
    rest = b""
    async for chunk in answer.aiter_raw():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _refusal(what: str, code: int, body: bytes, status: Obj | None = None) -> ClusterError:
    if status is None:
        try:
            decoded = msgspec.json.decode(body)
        except msgspec.DecodeError:
            decoded = None
        status = decoded if isinstance(decoded, dict) else {"message": body[:500].decode(errors="replace")}
    message = f"{what}: {code} {status.get('message', '')}"
    kind = Expired if code == 410 else ClusterError
    return kind(message, status=code, reason=str(status.get("reason", "")))


class Backoff:
    """A pause that doubles from 0.1 s to 5 s while failures follow each other."""

    def __init__(self) -> None:
        self._next_s = 0.1

    def clear(self) -> None:
        self._next_s = 0.1

    async def pause(self) -> None:
        await asyncio.sleep(self._next_s)
        self._next_s = min(self._next_s * 2, 5.0)
