"""Watches: what is there or what happened since a version, then what happens, until the time is up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from starlette.responses import StreamingResponse

from . import tables
from .codec import encode, typed_json, whole
from .errors import StatusError, expired, invalid
from .listing import Selection, render
from .request import INT64, META, Form, Query, Target
from .selectors import FieldTerm
from .store import Change, Gone, Obj, Row, Store

BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
PENDING_LIMIT = 20_000  # a watcher that is further behind is cut off, and lists again


@dataclass(slots=True)
class _Watch:
    """One watch: what it asks for and what it has sent."""

    store: Store
    target: Target
    query: Query
    form: Form
    selection: Selection
    queue: asyncio.Queue[Change | None] = field(default_factory=asyncio.Queue)
    seen: int = 0
    sent: int = 0
    rows_sent: bool = False

    def push(self, change: Change) -> None:
        target = self.target
        if change.resource != target.kind.stored:
            return
        if target.namespace and not change.key.startswith(f"{target.namespace}/"):
            return
        if self.queue.qsize() < PENDING_LIMIT:
            self.queue.put_nowait(change)
        else:
            self.queue.put_nowait(None)

    def event(self, change: Change) -> bytes | None:
        """What the watcher sees of a change: an object that leaves the selection is deleted for it."""
        self.seen = change.version
        if self.selection.everything:
            return self.line(change.verb, change.body)
        before = change.old is not None and self.selection.holds(change.old)
        after = change.verb != "DELETED" and self.selection.holds(change.body)
        if after:
            return self.line("MODIFIED" if before else "ADDED", change.body)
        if before and change.old is not None:
            gone = change.body if change.verb == "DELETED" else self._at(change.old, change.version)
            return self.line("DELETED", gone)
        return None

    def _at(self, body: bytes, version: int) -> bytes:
        """The object as the watcher knew it, with the version of the change that took it away."""
        obj = whole(self.target.kind, body)
        obj["metadata"]["resourceVersion"] = str(version)
        return encode({key: value for key, value in obj.items() if key not in ("apiVersion", "kind")})

    def line(self, verb: str, body: bytes) -> bytes:
        kind = self.target.kind
        if self.form.as_:
            row = Row("", 0, body)
            shown = encode(
                render(self.target, [row], self.form, self.query, single=True, columns=not self.rows_sent)
            )
            self.rows_sent = True
        elif kind.stored != kind.resource:
            shown = encode(whole(kind, body, self.target.version))
        else:
            shown = typed_json(kind, body, self.target.version)
        self.sent = max(self.sent, self.seen)
        return b'{"type":"' + verb.encode() + b'","object":' + shown + b"}\n"

    def bookmark(self, version: int, *, end_of_list: bool = False) -> bytes:
        ref = self.target.kind.at(self.target.version)
        metadata: Obj = {"resourceVersion": str(version)}
        if end_of_list:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        shown: dict[str, object] = {"kind": ref.kind, "apiVersion": ref.api_version, "metadata": metadata}
        if self.form.as_ == "Table":
            marker = {"metadata": {**metadata, "name": ""}}
            shown = tables.marker(self.form, marker)
        elif self.form.as_:
            shown["kind"], shown["apiVersion"] = self.form.as_, f"{META}/{self.form.as_version}"
        self.sent = version
        return encode({"type": "BOOKMARK", "object": shown}) + b"\n"


def watch_objects(
    store: Store, target: Target, query: Query, form: Form, closing: asyncio.Event
) -> StreamingResponse:
    """The answer to a watch; raises StatusError 400, 422 before it starts."""
    selection = Selection.of(target.kind, query)
    if target.name:
        one = FieldTerm("metadata.name", False, target.name)
        selection = Selection(target.kind, selection.labels, (*selection.terms, one))
    initial = query.flag("sendInitialEvents") if query.all("sendInitialEvents") else None
    _check_initial(query, initial)
    try:
        version = query.version()
    except ValueError as error:
        message = f'Invalid value: "{query.text("resourceVersion")}": {error}'
        kind = target.kind
        raise invalid(
            kind.group, kind.plural, "", [("resourceVersion", "FieldValueInvalid", message)]
        ) from error
    if version is not None:
        version = min(version, INT64 - 1)  # both are far from now
    timeout_s = query.number("timeoutSeconds") or random.uniform(1800, 3600)
    watch = _Watch(store, target, query, form, selection)
    stop_listening = store.listen(watch.push)
    try:
        first = list(_first(watch, version, initial))
    except Gone as error:
        text = f"too old resource version: {version} ({error.oldest})"
        first = [_error_line(expired(text)), None]
    stream = _stream(watch, first, timeout_s, closing)
    return _WatchResponse(stream, media_type="application/json", on_end=stop_listening)


class _WatchResponse(StreamingResponse):
    """Ends its subscription however the stream ends, also when it never began."""

    def __init__(self, content: AsyncIterator[bytes], *, media_type: str, on_end: object) -> None:
        super().__init__(content, media_type=media_type, headers={"Cache-Control": "no-cache, private"})
        self._on_end = on_end

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()  # type: ignore[operator]


def _first(watch: _Watch, version: int | None, initial: bool | None) -> Iterator[bytes | None]:
    """The events that are there already; raises Gone."""
    store, kind, namespace = watch.store, watch.target.kind, watch.target.namespace
    if initial or (initial is None and not version):
        watch.seen = store.version
        for row in store.page(kind.stored, namespace):
            if watch.selection.holds(row.body):
                yield watch.line("ADDED", row.body)
        watch.sent = store.version
        if initial:
            yield watch.bookmark(store.version, end_of_list=True)
    elif version:
        watch.seen = watch.sent = version
        for change in store.changes(kind.stored, version):
            if namespace and not change.key.startswith(f"{namespace}/"):
                continue
            if line := watch.event(change):
                yield line


async def _stream(
    watch: _Watch, first: list[bytes | None], timeout_s: float, closing: asyncio.Event
) -> AsyncIterator[bytes]:
    lines = [each for each in first if each is not None]
    if lines:
        yield b"".join(lines)
    if len(lines) < len(first):
        return  # an error event is the last one
    loop = asyncio.get_running_loop()
    ends = loop.time() + timeout_s
    bookmarks = watch.query.flag("allowWatchBookmarks")
    next_bookmark = min(loop.time() + BOOKMARK_EVERY_S, ends - BOOKMARK_BEFORE_END_S)
    while not closing.is_set():
        until = min(ends, next_bookmark) if bookmarks else ends
        try:
            async with asyncio.timeout_at(until):
                change = await watch.queue.get()
        except TimeoutError:
            if loop.time() >= ends:
                return
            if watch.seen > watch.sent:
                yield watch.bookmark(watch.seen)
            next_bookmark = min(loop.time() + BOOKMARK_EVERY_S, ends - BOOKMARK_BEFORE_END_S)
            if next_bookmark <= loop.time():
                next_bookmark = ends
            continue
        ready = [] if change is None else [change]
        while not watch.queue.empty():
            if (more := watch.queue.get_nowait()) is not None:
                ready.append(more)
            change = change and more
        found = [line for each in ready if each.version > watch.seen and (line := watch.event(each))]
        if found:
            yield b"".join(found)
        if change is None:
            return


def _error_line(error: StatusError) -> bytes:
    return encode({"type": "ERROR", "object": error.body()}) + b"\n"


def _check_initial(query: Query, initial: bool | None) -> None:
    match = query.text("resourceVersionMatch")
    causes = []
    if initial is not None and match != "NotOlderThan":
        message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if initial is None and match:
        message = (
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if match not in ("", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
        causes.append(("resourceVersionMatch", "FieldValueNotSupported", message))
    if query.text("continue"):
        message = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        causes.append(("resourceVersionMatch", "FieldValueForbidden", message))
    if causes:
        raise invalid(META, "ListOptions", "", causes)
