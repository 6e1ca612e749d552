"""The proxies to Services and pods: `…/services/[http:]name[:port]/proxy/…`, streamed both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from .errors import StatusError, bad_request, no_such_resource
from .node import Node
from .registry import Registry
from .request import Target
from .webhooks import endpoint_of

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
AT = 7  # where `proxy` is in the path
_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_NOT_FORWARDED = _HOP | {"authorization", "host"}
_ACTING = "impersonate-"


class Proxy:
    """Holds the connections to what it proxies to."""

    def __init__(self, registry: Registry, node: Node | None) -> None:
        self._registry = registry
        self._node = node
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def answer(self, target: Target, request: Request) -> Response:
        """Raises StatusError 400, 404, 503."""
        import httpx

        base, rest = _split(request.scope["raw_path"].decode("ascii"))
        if not rest and request.method in ("GET", "HEAD"):
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{base}/{query}", status_code=301)
        host, port = self._location(target)
        if self._client is None:
            timeout = httpx.Timeout(None, connect=CONNECT_S)
            self._client = httpx.AsyncClient(trust_env=False, timeout=timeout, follow_redirects=False)
        url = httpx.URL(
            scheme="http",
            host=host,
            port=port,
            raw_path=(rest or "/").encode() + (b"?" + request.scope["query_string"]).rstrip(b"?"),
        )
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        asked = self._client.build_request(
            request.method,
            url,
            headers=_forwarded(request, base),
            content=request.stream() if has_body else None,
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise _unavailable(f"error trying to reach service: {_text(error, host, port)}") from error
        headers = [(k, v) for k, v in answer.headers.multi_items() if k.lower() not in _HOP]
        response = StreamingResponse(
            _body(answer), answer.status_code, background=BackgroundTask(answer.aclose)
        )
        response.raw_headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers]
        return response

    def _location(self, target: Target) -> tuple[str, int]:
        scheme, name, port = _parts(target.name or "")
        if scheme == "https":
            raise bad_request("the embedded lab proxies http only: it cannot verify the certificate of a pod")
        if target.kind.resource == "pods":
            return self._pod(target, name, port)
        service = self._registry.get("services", target.namespace, name)
        ports = service["spec"].get("ports") or []
        try:
            if not port and len(ports) != 1:
                raise LookupError(f'no service port "" found for service "{name}"')
            wanted: int | str = int(port) if port.isdigit() else port
            return endpoint_of(self._registry, target.namespace or "", name, wanted or ports[0]["port"])
        except LookupError as error:
            raise _unavailable(str(error.args[0])) from error

    def _pod(self, target: Target, name: str, port: str) -> tuple[str, int]:
        pod = self._registry.get("pods", target.namespace, name)
        declared = [each for one in pod["spec"]["containers"] for each in one.get("ports") or []]
        number = int(port) if port.isdigit() else None
        if number is None:
            named = [each for each in declared if each.get("name") == port or not port]
            if not named:
                raise bad_request(f"pod {name} has no port {port!r}" if port else f"pod {name} has no ports")
            number = named[0]["containerPort"]
        if self._node is None or not (pod.get("status") or {}).get("podIP"):
            raise _unavailable("address not allowed")
        return self._node.reach(pod, number)


def _split(raw: str) -> tuple[str, str]:
    """The path of the proxy as it was sent, and what follows it ("" or from the slash on): a namespace or a
    pod may be called proxy, too.  Raises StatusError 404 where an escaped slash moves the parts.
    """
    parts = raw.split("/")  # "", api, v1, namespaces, NAMESPACE, KIND, NAME, proxy, …
    if len(parts) <= AT or unquote(parts[AT]) != "proxy":
        raise no_such_resource()
    rest = parts[AT + 1 :]
    return "/".join(parts[: AT + 1]), "".join(f"/{each}" for each in rest)


def _parts(text: str) -> tuple[str, str, str]:
    """Scheme, name and port of `[scheme:]name[:port]`; raises StatusError 400."""
    pieces = text.split(":")
    if len(pieces) == 1:
        return "http", pieces[0], ""
    if len(pieces) == 2:
        return "http", pieces[0], pieces[1]
    if len(pieces) == 3 and pieces[0] in ("", "http", "https"):
        return pieces[0] or "http", pieces[1], pieces[2]
    raise bad_request(f'invalid service request "{text}"')


def _forwarded(request: Request, base: str) -> list[tuple[str, str]]:
    """The caller's headers without its credential, and where the request came from."""
    named = {each.strip().lower() for each in request.headers.get("connection", "").split(",")}
    kept = [
        (key, value)
        for key, value in request.headers.items()
        if key not in _NOT_FORWARDED and key not in named and not key.startswith(_ACTING)
    ]
    return [
        *kept,
        ("X-Forwarded-Host", request.headers.get("host", "")),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Uri", base),
    ]


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for part in answer.aiter_raw():
        yield part


def _text(error: Exception, host: str, port: int) -> str:
    name = type(error).__name__
    if name == "ConnectError":
        return f"dial tcp {host}:{port}: connect: connection refused"
    return "EOF" if name == "RemoteProtocolError" else str(error) or name


def _unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)
