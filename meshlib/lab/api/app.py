"""The ASGI application: every request is identified, authorized and answered, if need be with a Status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from . import bodies, changes, discovery, listing, pod_parts, reviews, watching
from .authentication import Authenticator, impersonated, impersonation_rights
from .call import Call
from .errors import StatusError, bad_request, forbidden, internal, method_not_allowed, no_such_resource
from .escalation import Escalation
from .identity import Identity
from .kind_table import KINDS
from .node import Node
from .openapi import OpenApi
from .proxy import Proxy
from .rbac import Attributes, Authorizer, read_only_rules, refusal
from .registry import Registry
from .request import Form, Query, Target, accepted_form, not_acceptable, parse_path
from .responses import error_response, json_response
from .tokens import TokenIssuer

log = logging.getLogger(__name__)
Handler = Callable[[Call], Awaitable[Response]]
_OLD_ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
_OBJECT_FORMS = ("Table", "PartialObjectMetadata")
_LIST_FORMS = ("Table", "PartialObjectMetadataList")
_WATCH_FORMS = ("Table", "PartialObjectMetadata")


class ApiApp:
    """Answers the Kubernetes API over a registry; `node` reaches pods, None where there are none."""

    def __init__(
        self,
        registry: Registry,
        node: Node | None,
        *,
        issuer: TokenIssuer | None = None,
        tokens: Mapping[str, Identity] | None = None,
        git_version: str = "v1.36.2",
    ) -> None:
        self.registry = registry
        self.node = node
        self.closing = asyncio.Event()
        self._git_version = git_version
        self._issuer = issuer
        self._proxy = Proxy(registry, node)
        self._openapi = OpenApi(git_version)
        self._authenticator = Authenticator(issuer, tokens or {})
        plurals = [(kind.group, kind.plural, [part.name for part in kind.subresources]) for kind in KINDS]
        self._authorizer = Authorizer(registry, read_only_rules(plurals))
        registry.writer.grant = Escalation(self._authorizer).check

    async def close(self) -> None:
        """End all watches and the connections to webhooks and proxied pods."""
        self.closing.set()
        await self._proxy.close()
        await self.registry.webhooks.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            try:
                response = await self._answer_or_status(request)
            except ClientDisconnect:
                return
            await response(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send))

    async def _answer_or_status(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except StatusError as error:
            return error_response(error)
        except ClientDisconnect:
            raise
        except (
            RecursionError
        ):  # the body is nested deeper than this process can follow, which is the body's fault
            return error_response(bad_request("exceeded max depth"))
        except Exception as error:
            log.exception("%s %s", request.method, request.url.path)
            return error_response(internal(f"{type(error).__name__}: {error}"))

    async def _answer(self, request: Request) -> Response:
        identity = self._identify(request)
        path = request.url.path
        method = "GET" if request.method == "HEAD" else request.method
        target = parse_path(path)
        if target is None:
            self._authorize(identity, Attributes(method.lower(), path=path))
            return self._other_path(method, path, request)
        query = Query(request.url.query)
        verb = _verb(method, target, query)
        self._authorize(identity, _attributes(verb, target))
        if target.subresource == "proxy":
            return await self._proxy.answer(target, request)
        form = self._form(request, verb, target)
        try:
            response = await self._respond(request, method, verb, target, identity, query, form)
        except StatusError as error:
            if target.kind.resource != "endpoints":
                raise
            response = error_response(error)
        if target.kind.resource == "endpoints":
            response.headers.append("Warning", f'299 - "{_OLD_ENDPOINTS}"')
        return response

    async def _respond(
        self,
        request: Request,
        method: str,
        verb: str,
        target: Target,
        identity: Identity,
        query: Query,
        form: Form,
    ) -> Response:
        call = Call(self.registry, identity, target, query, form, self.closing)
        call.user_agent = request.headers.get("user-agent", "")
        call.content_type = request.headers.get("content-type", "")
        if method in ("POST", "PUT", "PATCH", "DELETE"):
            call.body = await _body(request)
        return await self._handle(verb, call)

    async def _handle(self, verb: str, call: Call) -> Response:
        target, store = call.target, self.registry.store
        part = target.subresource
        if part in pod_parts.HANDLERS:
            return await pod_parts.HANDLERS[part](call, self.node, self._issuer)
        if target.kind.virtual:
            return await reviews.review(call, self._authenticator, self._authorizer)
        match verb:
            case "get" if part == "scale":
                return changes.get_scale(call)
            case "get":
                return listing.get_object(store, target, call.query, call.form)
            case "list":
                return listing.list_objects(store, target, call.query, call.form)
            case "watch":
                return watching.watch_objects(store, target, call.query, call.form, self.closing)
        handlers: dict[str, Handler] = {
            "create": changes.create,
            "update": changes.replace,
            "patch": changes.patch,
            "delete": changes.delete,
            "deletecollection": changes.delete_collection,
        }
        return await handlers[verb](call)

    async def _websocket(self, socket: WebSocket) -> None:
        """exec, attach and portforward; what is refused is refused before the connection is accepted."""
        try:
            identity = self._identify(socket)
            target = parse_path(socket.url.path)
            if target is None or target.subresource not in pod_parts.STREAMS:
                raise no_such_resource()
            for verb in ("get", "create"):  # both since 1.35, as over SPDY
                self._authorize(identity, _attributes(verb, target))
            await pod_parts.STREAMS[target.subresource](self.registry, self.node, target, socket)
        except StatusError as error:
            await socket.send_denial_response(error_response(error))

    def _identify(self, caller: HTTPConnection) -> Identity:
        """The caller, or who it may act as (`kubectl --as`)."""
        peer = caller.scope.get("state", {}).get("peer")
        identity = self._authenticator.identify(peer, caller.headers.get("authorization", ""))
        acting = impersonated(caller.headers)
        if acting is None:
            return identity
        for what in impersonation_rights(acting):
            self._authorize(identity, what)
        return acting

    def _authorize(self, identity: Identity, what: Attributes) -> None:
        if self._authorizer.allowed(identity, what):
            return
        why = refusal(identity, what)
        if what.path:
            raise StatusError(403, "Forbidden", f"forbidden: {why}", {})
        raise forbidden(what.resource, what.group, what.name, why)

    def _form(self, request: Request, verb: str, target: Target) -> Form:
        accept = ",".join(request.headers.getlist("accept"))
        kinds: tuple[str, ...] = _OBJECT_FORMS
        if verb in ("list", "deletecollection"):
            kinds = _LIST_FORMS
        elif verb == "watch":
            kinds = _WATCH_FORMS
            accept = accept.replace(";stream=watch", "")
        if target.subresource == "log":
            return Form()
        form = accepted_form(accept, kinds)
        if form is None:
            raise not_acceptable(target.kind, accept, listing=verb in ("list", "watch"))
        return form

    def _other_path(self, method: str, path: str, request: Request) -> Response:
        """Discovery, health and the schemas."""
        clean = path.rstrip("/") or "/"
        if method != "GET":
            raise method_not_allowed() if clean in _KNOWN else no_such_resource()
        accept = request.headers.get("accept", "")
        if clean in _HEALTH or clean.startswith(tuple(f"{each}/" for each in _HEALTH)):
            return _health(clean, Query(request.url.query))
        if clean == "/version":
            return json_response(discovery.version_document(self._git_version))
        if clean in ("/api", "/apis"):
            if version := discovery.wants_aggregated(accept):
                return _aggregated(core=clean == "/api", version=version)
            host, port = request.scope.get("server") or ("127.0.0.1", 0)
            if clean == "/api":
                return json_response(discovery.api_versions(f"{host}:{port}"))
            return json_response(discovery.group_list())
        if clean == "/":
            return json_response(discovery.paths())
        if clean.startswith("/openapi/"):
            return self._openapi.answer(clean, accept, request.headers.get("if-none-match", ""))
        return _group_documents(clean)


_HEALTH = ("/healthz", "/livez", "/readyz")
_KNOWN = ("/", "/api", "/apis", "/version", *_HEALTH)


def _verb(method: str, target: Target, query: Query) -> str:
    """The verb of a request on a resource; raises StatusError 405."""
    part = target.kind.subresource(target.subresource) if target.subresource else None
    collection = target.name is None
    if method == "GET":
        verb = "get"
        if target.watch or (collection and query.flag("watch")):
            verb = "watch"
        elif collection:
            verb = "list"
    elif method == "DELETE":
        verb = "deletecollection" if collection else "delete"
    else:
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, "")
    verbs = part.verbs if part else target.kind.verbs
    fits = part is not None or verb in (
        ("list", "watch", "create", "deletecollection")
        if collection
        else ("get", "watch", "update", "patch", "delete")
    )
    if verb not in verbs or not fits:
        raise method_not_allowed()
    return verb


def _attributes(verb: str, target: Target) -> Attributes:
    kind = target.kind
    namespace = target.namespace or ""
    if kind.resource == "namespaces" and target.name:
        namespace = target.name
    return Attributes(verb, kind.group, kind.plural, target.subresource or "", namespace, target.name or "")


async def _body(request: Request) -> bytes:
    """Raises StatusError 413 as soon as the body is known to be too large."""
    if int(request.headers.get("content-length") or 0) > bodies.LIMIT:
        raise bodies.too_large()
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > bodies.LIMIT:
            raise bodies.too_large()
        parts.append(part)
    return b"".join(parts)


def _health(path: str, query: Query) -> Response:
    kind = path.split("/")[1]
    if query.all("verbose"):
        return PlainTextResponse(f"[+]ping ok\n[+]etcd ok\n{kind} check passed\n")
    return PlainTextResponse("ok")


def _aggregated(*, core: bool, version: str) -> Response:
    response = json_response(discovery.aggregated(core=core, version=version))
    response.headers["Content-Type"] = (
        f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    )
    return response


def _group_documents(path: str) -> Response:
    parts = path.split("/")[1:]
    try:
        if parts[0] == "api" and len(parts) == 2:
            return json_response(discovery.resource_list("", parts[1]))
        if parts[0] == "apis" and len(parts) == 2:
            return json_response(discovery.group_document(parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return json_response(discovery.resource_list(parts[1], parts[2]))
    except KeyError:
        raise no_such_resource() from None
    raise no_such_resource()
