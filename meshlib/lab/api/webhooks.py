"""Admission webhooks: real calls over HTTPS, with the texts and consequences of a real server."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
import ssl
import uuid
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

from meshlib.lab import schema
from meshlib.lab.schema import PatchError

from .codec import decode, encode
from .convert import at_version
from .errors import StatusError, bad_request, internal
from .kinds import Kind
from .store import Change, Obj
from .webhook_rules import EXEMPT, Asked, Webhook, webhooks_of
from .writes import Write

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
GROUP = "admissionregistration.k8s.io"
MUTATING, VALIDATING = (f"{name}.{GROUP}" for name in EXEMPT)
MAX_ANSWER = 3 * 1024 * 1024
IDLE_CONNECTIONS = 8


class Objects(Protocol):
    """Where configurations, Services and their endpoints are found."""

    def list(self, resource: str, namespace: str | None = None, *, labels: Any = None) -> list[Obj]: ...

    def find(self, resource: str, namespace: str | None, name: str) -> Obj | None: ...


class _Failed(Exception):
    """A webhook could not be asked; the text is what Go's client says."""


class Webhooks:
    """`mutate` and `validate` are what the Writer calls; both raise StatusError when the answer is no."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[str, list[Webhook]] = {}
        self._clients: dict[str, httpx.AsyncClient] = {}

    def forget(self, change: Change) -> None:
        """Listens to the store: changed configurations are read again."""
        if change.resource in (MUTATING, VALIDATING):
            self._known.pop(change.resource, None)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def mutate(
        self, kind: Kind, verb: str, new: Obj | None, old: Obj | None, write: Write, subresource: str
    ) -> Obj | None:
        """The object after all mutating webhooks; the ones that ask for it see later changes once more."""
        hooks = self._hooks(MUTATING, kind)
        if not hooks or new is None:
            return new
        asked = _asked(kind, verb, new, old, write, subresource)
        obj: Obj = new
        before_hook: dict[int, Obj] = {}
        for index, hook in enumerate(hooks):
            obj = await self._mutated(hook, asked, obj, old, write)
            before_hook[index] = obj
        for index, hook in enumerate(hooks):
            if hook.again and before_hook[index] != obj:
                obj = await self._mutated(hook, asked, obj, old, write)
        return obj

    async def validate(
        self, kind: Kind, verb: str, new: Obj | None, old: Obj | None, write: Write, subresource: str
    ) -> Obj | None:
        """Ask all validating webhooks at once; the first no, in their order, is the answer."""
        hooks = self._hooks(VALIDATING, kind)
        some = new if new is not None else old
        if not hooks or some is None:
            return new
        asked = _asked(kind, verb, some, old, write, subresource)
        calls = [self._ask(hook, asked, new, old, write) for hook in hooks]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
        return new

    def _hooks(self, resource: str, kind: Kind) -> list[Webhook]:
        if kind.plural in EXEMPT:
            return []
        if resource not in self._known:
            self._known[resource] = webhooks_of(self._objects.list(resource))
        return self._known[resource]

    async def _mutated(self, hook: Webhook, asked: Asked, obj: Obj, old: Obj | None, write: Write) -> Obj:
        answer = await self._ask(hook, asked, obj, old, write)
        if not (answer or {}).get("patch"):
            return obj
        assert answer is not None
        version = hook.version_for(asked.kind, asked.version, asked.verb, asked.subresource) or asked.version
        try:
            if answer.get("patchType") != "JSONPatch":
                raise _Failed(f"unsupported patch type {answer.get('patchType')!r}")
            patch = decode(base64.b64decode(answer["patch"], validate=True))
            made = schema.json_patch(deepcopy(at_version(asked.kind, obj, version)), patch)
        except (_Failed, PatchError, ValueError, binascii.Error) as error:
            raise internal(f'failed calling webhook "{hook.name}": {error}') from error
        return {**made, "apiVersion": obj["apiVersion"]}

    async def _ask(
        self, hook: Webhook, asked: Asked, new: Obj | None, old: Obj | None, write: Write
    ) -> Obj | None:
        """The `response` of a webhook that takes the request and allows it, None where no rule takes it."""
        version = hook.version_for(asked.kind, asked.version, asked.verb, asked.subresource)
        if version is None or not hook.selects(self._namespace_labels(asked, new or old), new, old):
            return None
        if asked.dry_run and not hook.dry_run:
            raise bad_request(f'admission webhook "{hook.name}" does not support dry run')
        uid = str(uuid.uuid4())
        shown = [None if each is None else at_version(asked.kind, each, version) for each in (new, old)]
        try:
            answer = await self._post(hook, encode(asked.review(uid, version, shown[0], shown[1])))
            response = _response(answer, uid)
        except _Failed as error:
            text = f'failed calling webhook "{hook.name}": {error}'
            if hook.fail:
                raise internal(text) from error
            log.warning("%s; its failurePolicy is Ignore", text)
            return None
        write.warnings.extend(str(each) for each in response.get("warnings") or [])
        if not response.get("allowed"):
            raise _denied(hook, response.get("status") or {})
        return response

    def _namespace_labels(self, asked: Asked, obj: Obj | None) -> dict[str, str] | None:
        if asked.kind.resource == "namespaces":
            return (obj or {}).get("metadata", {}).get("labels") or {}
        if not asked.kind.namespaced:
            return None
        namespace = self._objects.find("namespaces", None, asked.namespace)
        return (namespace or {}).get("metadata", {}).get("labels") or {}

    async def _post(self, hook: Webhook, body: bytes) -> bytes:
        import httpx

        url, true_url, host = self._address(hook)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Host": host}
        shown = f'failed to call webhook: Post "{url}?timeout={hook.timeout_s:g}s"'
        try:
            client = self._client(hook.client.get("caBundle", ""))
            async with asyncio.timeout(hook.timeout_s):
                async with client.stream(
                    "POST",
                    f"{true_url}?timeout={hook.timeout_s:g}s",
                    content=body,
                    headers=headers,
                    extensions={"sni_hostname": host.partition(":")[0]},
                ) as answer:
                    content = await _content(answer)
        except TimeoutError as error:
            raise _Failed(f"{shown}: context deadline exceeded") from error
        except (httpx.HTTPError, ssl.SSLError, ValueError) as error:
            raise _Failed(f"{shown}: {_go_text(error, true_url)}") from error
        if answer.status_code != 200:
            text = content[:1024].decode(errors="replace").strip()
            raise _Failed(f"failed to call webhook: {text or answer.reason_phrase}")
        return content

    def _address(self, hook: Webhook) -> tuple[str, str, str]:
        """The URL as users know it, the one to call, and the name that its certificate must have."""
        if url := hook.client.get("url"):
            return url, url, url.partition("://")[2].partition("/")[0]
        service = hook.client.get("service") or {}
        namespace, name = service.get("namespace", ""), service.get("name", "")
        port, path = service.get("port") or 443, (service.get("path") or "").lstrip("/")
        host = f"{name}.{namespace}.svc"
        try:
            address, true_port = endpoint_of(self._objects, namespace, name, port)
        except LookupError as error:
            raise _Failed(f'failed to call webhook: Post "https://{host}:{port}/{path}": {error}') from error
        return f"https://{host}:{port}/{path}", f"https://{address}:{true_port}/{path}", host

    def _client(self, bundle: str) -> httpx.AsyncClient:
        """One client for each CA bundle, with connections kept open."""
        import httpx

        if bundle not in self._clients:
            pem = base64.b64decode(bundle, validate=True).decode() if bundle else None
            context = ssl.create_default_context(cadata=pem)
            limits = httpx.Limits(max_keepalive_connections=IDLE_CONNECTIONS)
            self._clients[bundle] = httpx.AsyncClient(
                verify=context, trust_env=False, limits=limits, timeout=None, follow_redirects=False
            )
        return self._clients[bundle]


async def _content(answer: httpx.Response) -> bytes:
    content = b""
    async for part in answer.aiter_bytes():
        content += part
        if len(content) > MAX_ANSWER:
            raise _Failed(f"failed to call webhook: its answer is larger than {MAX_ANSWER} bytes")
    return content


def endpoint_of(objects: Objects, namespace: str, name: str, port: int | str) -> tuple[str, int]:
    """The address of a ready endpoint behind a Service's port (number or name); LookupError says why not."""
    service = objects.find("services", namespace, name)
    if service is None:
        raise LookupError(f'service "{name}" not found')
    wanted = next(
        (
            each
            for each in service["spec"].get("ports") or []
            if port in (each["port"], each.get("name"), str(each["port"])) or port == ""
        ),
        None,
    )
    if wanted is None:
        raise LookupError(f'no service port {port!r} found for service "{name}"')
    found: list[tuple[str, int]] = []
    labels = {"kubernetes.io/service-name": name}
    for piece in objects.list("endpointslices.discovery.k8s.io", namespace, labels=labels):
        if piece.get("addressType") == "FQDN":
            continue
        ports = piece.get("ports") or []
        numbers = [each["port"] for each in ports if (each.get("name") or "") == (wanted.get("name") or "")]
        for endpoint in piece.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [(address, number) for address in endpoint["addresses"] for number in numbers]
    if not found:
        raise LookupError(f'no endpoints available for service "{name}"')
    return random.choice(found)


def _asked(kind: Kind, verb: str, obj: Obj, old: Obj | None, write: Write, subresource: str) -> Asked:
    meta = obj["metadata"]
    options = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}[verb]
    return Asked(
        kind,
        write.version or kind.version,
        verb,
        subresource,
        meta.get("namespace", ""),
        meta.get("name", ""),
        write.user,
        write.dry_run,
        {"kind": options, "apiVersion": "meta.k8s.io/v1"},
    )


def _response(body: bytes, uid: str) -> Obj:
    """The `response` of an AdmissionReview; raises _Failed for what is none."""
    try:
        review = decode(body)
    except ValueError as error:
        raise _Failed(f"received invalid webhook response: {error}") from error
    if not isinstance(review, dict) or not isinstance(review.get("response"), dict):
        raise _Failed("received invalid webhook response: webhook response was absent")
    kind, version = review.get("kind"), review.get("apiVersion")
    if (kind, version) != ("AdmissionReview", "admission.k8s.io/v1"):
        raise _Failed(
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, "
            f"Kind=AdmissionReview, got {version}, Kind={kind}"
        )
    response: Obj = review["response"]
    if response.get("uid") != uid:
        raise _Failed(
            f'received invalid webhook response: expected response.uid="{uid}", '
            f'got "{response.get("uid", "")}"'
        )
    return response


def _denied(hook: Webhook, status: Obj) -> StatusError:
    code = status.get("code") or 0
    text = status.get("message") or status.get("reason")
    start = f'admission webhook "{hook.name}" denied the request'
    message = f"{start}: {text}" if text else f"{start} without explanation"
    return StatusError(
        code if code >= 400 else 400, status.get("reason") or "", message, status.get("details")
    )


def _go_text(error: Exception, url: str) -> str:
    """What Go's client says of a connection that failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            if "Hostname mismatch" in cause.verify_message or "IP address mismatch" in cause.verify_message:
                return f"tls: failed to verify certificate: x509: {cause.verify_message}"
            return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        if isinstance(cause, ConnectionRefusedError):
            return f"dial tcp {url.partition('://')[2].partition('/')[0]}: connect: connection refused"
        cause = cause.__cause__ or cause.__context__
    if "refused" in str(error) or "attempts failed" in str(error):
        return f"dial tcp {url.partition('://')[2].partition('/')[0]}: connect: connection refused"
    return str(error) or type(error).__name__
