"""The query side over HTTP: Jaeger's legacy API, and health."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from meshlib.lab.tracestore import jaeger, search
from meshlib.lab.tracestore.model import BadSpan
from meshlib.lab.tracestore.query import BadQuery, Search, legacy_search
from meshlib.lab.tracestore.store import Store


def query_app(store: Store, base_path: str = "") -> Starlette:
    """The app of port 16686. `base_path` is '' or begins with a slash, as QUERY_BASE_PATH gives it."""
    base = base_path.rstrip("/")
    api = Legacy(store)
    routes = [
        Route("/api/services", api.services),
        Route("/api/services/{service:path}/operations", api.service_operations),
        Route("/api/operations", api.operations),
        Route("/api/traces", api.traces),
        Route("/api/traces/{trace_id}", api.trace),
    ]
    if not base:
        return Starlette(routes=routes)

    async def to_base(request: Request) -> Response:
        return RedirectResponse(base + "/search", status_code=302)

    return Starlette(routes=[Route("/", to_base), Mount(base, routes=routes)])


def health_app(answer: Mapping[str, str]) -> Starlette:
    """The app of a health port: 200 with `answer` on `/` and `/status`."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    async def health(request: Request) -> Response:
        return _answer(json.dumps({**answer, "upSince": since}).encode())

    return Starlette(routes=[Route("/", health), Route("/status", health)])


class Legacy:
    """`/api/…`: one method a route. Reads run in a thread, so that incoming spans are not held up."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def services(self, request: Request) -> Response:
        names = self._store.services()
        return _answer(jaeger.envelope(names or None, total=len(names)))

    async def service_operations(self, request: Request) -> Response:
        names = sorted({name for name, _ in self._store.operations(request.path_params["service"])})
        return _answer(jaeger.envelope(names or None, total=len(names)))

    async def operations(self, request: Request) -> Response:
        service = request.query_params.get("service")
        if not service:
            return _refuse(400, "parameter 'service' is required")
        found = self._store.operations(service, request.query_params.get("spanKind") or None)
        data = [{"name": name, "spanKind": kind} for name, kind in found]
        return _answer(jaeger.envelope(data or None, total=len(data)))

    async def traces(self, request: Request) -> Response:
        params = {key: request.query_params.getlist(key) for key in request.query_params}
        try:
            wanted = legacy_search(params, time.time_ns() // 1000)
            return _answer(await run_in_threadpool(self._find, wanted))
        except (BadQuery, BadSpan) as error:
            return _refuse(400, str(error))

    def _find(self, wanted: Search) -> bytes:
        return jaeger.traces_json(search.find(self._store, wanted), self._store.texts)

    async def trace(self, request: Request) -> Response:
        try:
            found = await run_in_threadpool(search.by_id, self._store, [request.path_params["trace_id"]])
        except BadSpan as error:
            return _refuse(400, str(error))
        if not found:
            return _refuse(404, "trace not found")
        return _answer(await run_in_threadpool(jaeger.traces_json, found, self._store.texts))


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _refuse(status: int, message: str) -> Response:
    return _answer(jaeger.error(status, message), status)
