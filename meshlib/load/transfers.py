"""Requests as libcurl's transfers: one-request connections, and what suits neither `http1` nor `http2`."""

from __future__ import annotations

import pycurl

from meshlib.load import handles, kinds, sockets, tracing
from meshlib.load.plan import Plan
from meshlib.load.wire import Done

# Looked up for every request, so they are globals and not attributes of a module.
RESPONSE_CODE, HTTP_VERSION = pycurl.RESPONSE_CODE, pycurl.INFO_HTTP_VERSION
NUM_CONNECTS, SIZE_DOWNLOAD = pycurl.NUM_CONNECTS, pycurl.SIZE_DOWNLOAD_T
NAMELOOKUP, CONNECT, APPCONNECT = pycurl.NAMELOOKUP_TIME_T, pycurl.CONNECT_TIME_T, pycurl.APPCONNECT_TIME_T
STARTTRANSFER, TOTAL = pycurl.STARTTRANSFER_TIME_T, pycurl.TOTAL_TIME_T
NO_HTTP2 = kinds.KINDS[16]


class Transfers:
    """A `Wire` on which libcurl does everything."""

    def __init__(self, plan: Plan, traced: tracing.Lines) -> None:
        self.messages: dict[str, str] = {}
        self._plan = plan
        self._multi = handles.multi(plan)
        self._sockets = sockets.Sockets(self._multi)
        self._handles = [handles.handle(plan, self._sockets.opened) for _ in range(plan.slots)]
        for slot, handle in enumerate(self._handles):
            handles.keep_to(handle, plan, slot % plan.connections)
        self._slots = {handle: slot for slot, handle in enumerate(self._handles)}
        self._traced = traced
        self._headers = [handles.headers_of(request) for request in plan.requests]
        self._aimed = [-1] * plan.slots
        self._under_way = 0

    def start(self, slot: int, item: int, span: bytes, sampled: bool) -> None:
        handle = self._handles[slot]
        if self._aimed[slot] != item:
            handles.aim(handle, self._plan, self._plan.requests[item])
            self._aimed[slot] = item
        if span:
            id_ = span.decode()
            traced = [line.replace(tracing.PLACE, id_) for line in self._traced[sampled]]
            handle.setopt(pycurl.HTTPHEADER, self._headers[item] + traced)
        self._under_way += 1
        self._multi.add_handle(handle)

    def step(self, wait_s: float) -> list[Done]:
        self._sockets.step(wait_s, self._under_way)
        found: list[Done] = []
        for handle, code, message in self._sockets.finished():
            if code:
                kind = kinds.kind_of(code, message, handle.getinfo(pycurl.SSL_VERIFYRESULT))
                self.messages.setdefault(kind, message)
                found.append(self._done(handle, kinds.NUMBER[kind]))
            else:
                found.append(self._done(handle, self._wrong_version(handle)))
        self._under_way -= len(found)
        return found

    def _wrong_version(self, handle: pycurl.Curl) -> int:
        """The place of its error, where HTTP/2 was wanted and libcurl made do with HTTP/1.1; else 0."""
        if self._plan.http == "1.1" or handle.getinfo(HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2_0:
            return 0
        self.messages.setdefault(NO_HTTP2, "the server does not speak HTTP/2")
        return kinds.NUMBER[NO_HTTP2]

    def _done(self, handle: pycurl.Curl, error: int) -> Done:
        info = handle.getinfo
        opened = info(NUM_CONNECTS)
        dns = connect = tls = 0
        if opened:
            dns, connect, tls = info(NAMELOOKUP), info(CONNECT), info(APPCONNECT)
        done = (
            self._slots[handle],
            error,
            info(RESPONSE_CODE),
            opened,
            dns,
            connect,
            tls,
            info(STARTTRANSFER),
            info(TOTAL),
            info(SIZE_DOWNLOAD),
            info(HTTP_VERSION),
        )
        self._multi.remove_handle(handle)
        return done

    def close(self) -> None:
        for handle in self._handles:
            handle.close()
        self._multi.close()
        self._sockets.close()
