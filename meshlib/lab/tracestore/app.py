"""The query side over HTTP: Jaeger's legacy API, `/api/v3`, a plain page, and health.

Reads run in a thread, so that incoming spans are not held up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from meshlib.lab.tracestore import jaeger, page, query, search, summaries, v3
from meshlib.lab.tracestore.model import BadSpan
from meshlib.lab.tracestore.store import Store

PAGE_TRACES = 20


def query_app(store: Store, base_path: str = "") -> Starlette:
    """The app of port 16686. `base_path` is '' or begins with a slash, as QUERY_BASE_PATH gives it."""
    base = base_path.rstrip("/")
    legacy, newer = Legacy(store), V3(store)
    routes = [
        Route("/api/services", legacy.services),
        Route("/api/services/{service:path}/operations", legacy.service_operations),
        Route("/api/operations", legacy.operations),
        Route("/api/traces", legacy.traces),
        Route("/api/traces/{trace_id}", legacy.trace),
        Route("/api/dependencies", legacy.dependencies),
        Route("/api/archive/{trace_id}", legacy.archive, methods=["POST"]),
        Route("/api/metrics/{name}", legacy.metrics),
        Route("/api/v3/services", newer.services),
        Route("/api/v3/operations", newer.operations),
        Route("/api/v3/traces", newer.traces),
        Route("/api/v3/traces/{trace_id}", newer.trace),
        Route("/api/v3/trace-summaries", newer.summaries),
        Route("/search", _Page(store, base).show),
    ]

    async def to_search(request: Request) -> Response:
        return RedirectResponse(base + "/search", status_code=302)

    entry = [Route("/", to_search)]
    return Starlette(routes=[*entry, Mount(base, routes=[*entry, *routes])] if base else [*entry, *routes])


def health_app(answer: Mapping[str, str]) -> Starlette:
    """The app of a health port: 200 with `answer` on `/` and `/status`."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    async def health(request: Request) -> Response:
        return _answer(json.dumps({**answer, "upSince": since}).encode())

    return Starlette(routes=[Route("/", health), Route("/status", health)])


class Legacy:
    """`/api/…`: one method a route."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def services(self, request: Request) -> Response:
        names = self._store.services()
        return _shown(request, jaeger.envelope(names or None, total=len(names)))

    async def service_operations(self, request: Request) -> Response:
        names = sorted({name for name, _ in self._store.operations(request.path_params["service"])})
        return _shown(request, jaeger.envelope(names or None, total=len(names)))

    async def operations(self, request: Request) -> Response:
        service = request.query_params.get("service")
        if not service:
            return _refuse(400, "parameter 'service' is required")
        found = self._store.operations(service, request.query_params.get("spanKind") or None)
        data = [{"name": name, "spanKind": kind} for name, kind in found]
        return _shown(request, jaeger.envelope(data, total=len(data)))

    async def traces(self, request: Request) -> Response:
        try:
            wanted = query.legacy_search(_params(request), _now_us())
            return _shown(request, await run_in_threadpool(self._find, wanted))
        except (query.BadQuery, BadSpan) as error:
            return _refuse(400, str(error))

    def _find(self, wanted: query.Search) -> bytes:
        found = search.find(self._store, wanted)
        missing = [
            each for each in wanted.trace_ids if each.lstrip("0") not in {id_.lstrip("0") for id_ in found}
        ]
        return jaeger.traces_json(found, self._store.texts, missing)

    async def trace(self, request: Request) -> Response:
        try:
            found = await run_in_threadpool(search.by_id, self._store, [request.path_params["trace_id"]])
        except BadSpan as error:
            return _refuse(400, str(error))
        if not found:
            return _refuse(404, "trace not found")
        body = await run_in_threadpool(jaeger.traces_json, found, self._store.texts)
        return _shown(request, jaeger.raw(body) if _is_true(request, "raw") else body)

    async def dependencies(self, request: Request) -> Response:
        try:
            start_us, end_us = query.dependencies_window_us(_params(request), _now_us())
        except query.BadQuery as error:
            return _refuse(400, str(error))
        found = await run_in_threadpool(search.dependencies, self._store, start_us, end_us)
        service = request.query_params.get("service")
        data = [
            {"parent": parent, "child": child, "callCount": calls}
            for parent, child, calls in found
            if service in (None, "", parent, child)
        ]
        return _shown(request, jaeger.envelope(data))

    async def archive(self, request: Request) -> Response:
        return _refuse(500, jaeger.NO_ARCHIVE)

    async def metrics(self, request: Request) -> Response:
        return _refuse(501, jaeger.METRICS_DISABLED)


class V3:
    """`/api/v3/…`: one method a route."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def services(self, request: Request) -> Response:
        return _answer(json.dumps({"services": self._store.services()}).encode())

    async def operations(self, request: Request) -> Response:
        kind = request.query_params.get("spanKind") or request.query_params.get("span_kind")
        found = self._store.operations(request.query_params.get("service", ""), kind or None)
        data = [{"name": name, "spanKind": kind or "internal"} for name, kind in found]
        return _answer(json.dumps({"operations": data}).encode())

    async def traces(self, request: Request) -> Response:
        try:
            wanted = v3.search(_params(request))
        except query.BadQuery as error:
            return _answer(v3.error(400, str(error)), 400)
        return await self._found(lambda: search.find(self._store, wanted))

    async def summaries(self, request: Request) -> Response:
        try:
            wanted = v3.search(_params(request))
        except query.BadQuery as error:
            return _answer(v3.error(400, str(error)), 400)
        found = await run_in_threadpool(search.find, self._store, wanted)
        return _answer(await run_in_threadpool(summaries.summaries_json, found, self._store.texts))

    async def trace(self, request: Request) -> Response:
        return await self._found(lambda: search.by_id(self._store, [request.path_params["trace_id"]]))

    async def _found(self, find: Callable[[], search.Traces]) -> Response:
        try:
            found = await run_in_threadpool(find)
        except BadSpan as error:
            return _answer(v3.error(400, f"malformed parameter trace_id: {error}"), 400)
        if not found:
            return _answer(v3.error(404, "No traces found"), 404)
        return _answer(await run_in_threadpool(v3.traces_json, found, self._store.texts))


class _Page:
    def __init__(self, store: Store, base: str) -> None:
        self._store = store
        self._base = base

    async def show(self, request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(self._html, request.query_params.get("service")))

    def _html(self, service: str | None) -> str:
        found: search.Traces = {}
        if service:
            now_us = _now_us()
            found = search.find(
                self._store, query.Search(service, now_us - query.WINDOW_US, now_us, limit=PAGE_TRACES)
            )
        names = self._store.texts("operation", {spans[0].operation for spans in found.values()})
        return page.render(self._base, self._store.services(), service, found, names)


def _params(request: Request) -> dict[str, list[str]]:
    return {key: request.query_params.getlist(key) for key in request.query_params}


def _is_true(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("1", "t", "true")


def _now_us() -> int:
    return time.time_ns() // 1000


def _shown(request: Request, body: bytes) -> Response:
    wanted = request.query_params.get("prettyPrint", "")
    return _answer(jaeger.pretty(body) if wanted not in ("", "false") else body)


def _answer(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _refuse(status: int, message: str) -> Response:
    return _answer(jaeger.error(status, message), status)
