"""Batches of spans over HTTP: decoded, committed with whatever else has arrived, then answered.

Committing costs the same for one batch or fifty, so batches that arrive together share a commit: a batch
waits until no other request is being read, at most `WINDOW_S`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from meshlib.lab.tracestore import otlp, zipkin, zipkin_proto
from meshlib.lab.tracestore.model import BadSpan, Span
from meshlib.lab.tracestore.store import Store

WINDOW_S = 0.005
MAX_BODY = 64 * 1024 * 1024
LOG = logging.getLogger("tracestore.ingest")

Decoder = Callable[[bytes], list[Span]]
# (path, media type) → how the body is read
Routes = Mapping[tuple[str, str], Decoder]
ZIPKIN: Routes = {
    ("/api/v2/spans", "application/json"): zipkin.from_json,
    ("/api/v2/spans", "application/x-protobuf"): zipkin_proto.from_protobuf,
}
OTLP: Routes = {
    ("/v1/traces", "application/json"): otlp.from_json,
    ("/v1/traces", "application/x-protobuf"): otlp.from_protobuf,
}


class Committer:
    """Commits the batches that wait, together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[list[Span], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.reading = 0  # requests whose body is still being read or whose batch waits

    async def add(self, spans: list[Span]) -> None:
        """Return when `spans` are committed."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((spans, done))
        if len(self._waiting) >= self.reading:
            self._commit()
        elif self._timer is None:
            self._timer = loop.call_later(WINDOW_S, self._commit)
        await done

    def _commit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        try:
            self._store.add(span for spans, _ in waiting for span in spans)
        except sqlite3.Error as error:
            LOG.error("%d batches refused: %s", len(waiting), error)
            for _, done in waiting:
                if not done.done():
                    done.set_exception(error)
        else:
            for _, done in waiting:
                if not done.done():
                    done.set_result(None)
        finally:
            for _, done in waiting:
                done.cancel()  # no effect on those that are answered; nobody waits forever for the others


class Receiver:
    """The ASGI app of one receiving port. `accepted` is the status of a batch that is kept."""

    def __init__(self, committer: Committer, routes: Routes, accepted: int) -> None:
        self._committer = committer
        self._routes = routes
        self._paths = {path for path, _ in routes}
        self._accepted = accepted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._committer.reading += 1
        try:
            status, text = await self._take(scope, receive)
        finally:
            self._committer.reading -= 1
        # an OTLP sender gets its own kind of body back: an empty message, or `{}`
        own = dict(scope["headers"]).get(b"content-type", b"application/json") if status == 200 else None
        headers = [
            (b"content-length", str(len(text)).encode()),
            (b"content-type", own or b"text/plain; charset=utf-8"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def _take(self, scope: Any, receive: Any) -> tuple[int, bytes]:
        path = scope["path"]
        if path not in self._paths:
            return 404, b"404 page not found\n"
        if scope["method"] != "POST":
            return 405, b"405 method not allowed, supported: [POST]\n"
        headers = dict(scope["headers"])
        media = (
            headers.get(b"content-type", b"application/json").split(b";")[0].strip().decode("latin-1").lower()
        )
        decode = self._routes.get((path, media))
        if decode is None:
            return 415, f"Unsupported Content-Type: {media}\n".encode()
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                return 413, b"request body too large\n"
        try:
            spans = decode(_plain(body, headers.get(b"content-encoding", b"")))
        except BadSpan as error:
            return 400, f"Unable to process request body: {error}\n".encode()
        if spans:
            try:
                await self._committer.add(spans)
            except sqlite3.Error as error:
                return 503, f"cannot keep the batch: {error}\n".encode()
        return self._accepted, b"{}" if self._accepted == 200 and media == "application/json" else b""


def _plain(body: bytes, encoding: bytes) -> bytes:
    if encoding in (b"", b"identity"):
        return body
    if encoding != b"gzip":
        raise BadSpan(f"content encoding {encoding.decode('latin-1')!r} is not supported")
    plain = b""
    while body:
        unpacking = zlib.decompressobj(wbits=31)
        try:
            plain += unpacking.decompress(body, MAX_BODY - len(plain) + 1)
        except zlib.error as error:
            raise BadSpan(f"the body is not gzip: {error}") from error
        if len(plain) > MAX_BODY:
            raise BadSpan(f"the body is larger than {MAX_BODY} bytes when unpacked")
        if not unpacking.eof:
            raise BadSpan("the body is not gzip: it ends too early")
        body = unpacking.unused_data  # gzip of several parts, one after the other
    return plain
