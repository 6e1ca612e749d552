"""Plain HTTP/1.1 over connections that libcurl opens, verifies and encrypts.

libcurl prepares every transfer anew: it parses the URL, looks for a connection, writes each header, and keeps
what came. A load repeats one request, so all of that is done once (`http1`), and a request on an open
connection is one send and one receive: half of the CPU of a transfer.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field

import pycurl

from meshlib.load import handles, http1, kinds, sockets, tracing
from meshlib.load.plan import NS, Plan
from meshlib.load.wire import Done

PIECE = 65536
PLACE = tracing.PLACE.encode()
VERSION = 2  # libcurl's number of HTTP/1.1
WEIRD_REPLY, SHORT_BODY, TIMED_OUT, EMPTY_REPLY = 8, 18, 28, 52
LOOK_NS = NS // 10  # how often requests are looked through for those that take too long
NONE_OPENED = (0, 0, 0, 0)


@dataclass(slots=True)
class _Lane:
    """One connection and the request on it."""

    slot: int
    handle: pycurl.Curl
    answer: http1.Answer = field(default_factory=http1.Answer)
    fd: int = -1  # below 0: not connected
    request: bytes = b""
    unsent: bytes = b""  # what the socket did not take yet
    busy: bool = False
    heard: bool = False
    reused: bool = False  # the connection has carried an answer before this request
    begun_ns: int = 0
    first_ns: int = 0
    opened: tuple[int, int, int, int] = NONE_OPENED  # how many, and their dns, connect and TLS times in µs


class Connections:
    """A `Wire` of one connection a slot."""

    def __init__(self, plan: Plan, traced: tracing.Lines) -> None:
        self.messages: dict[str, str] = {}
        self._multi = handles.multi(plan)
        self._sockets = sockets.Sockets(self._multi)
        heads = [http1.head(request) for request in plan.requests]
        # by sampled, then by item
        self._heads = [["\r\n".join([head, *lines, "\r\n"]).encode() for head in heads] for lines in traced]
        self._bodies = [request.body or b"" for request in plan.requests]
        self._no_body = [request.method.upper() == "HEAD" for request in plan.requests]
        self._lanes = [self._lane(plan, slot) for slot in range(plan.connections)]
        self._of = {lane.handle: lane for lane in self._lanes}
        self._connecting = 0
        self._done: list[Done] = []
        self._timeout_ns = int(plan.timeout_s * NS)
        self._look_ns = 0

    def _lane(self, plan: Plan, slot: int) -> _Lane:
        handle = handles.handle(plan, self._sockets.opened)
        handles.aim(handle, plan, plan.requests[0])
        handle.setopt(pycurl.CONNECT_ONLY, 1)
        return _Lane(slot, handle)

    def start(self, slot: int, item: int, span: bytes, sampled: bool) -> None:
        lane = self._lanes[slot]
        lane.request = self._heads[sampled][item].replace(PLACE, span) + self._bodies[item]
        lane.answer.begin(self._no_body[item])
        lane.busy, lane.heard, lane.opened = True, False, NONE_OPENED
        lane.begun_ns = time.perf_counter_ns()
        if lane.fd >= 0:
            lane.reused = True
            self._send(lane, lane.request)
        else:
            self._connect(lane)

    def step(self, wait_s: float) -> list[Done]:
        if self._done:
            wait_s = 0
        for slot, event in self._sockets.step(wait_s, self._connecting):
            lane = self._lanes[slot]
            if event & select.POLLOUT and lane.unsent:
                self._send(lane, lane.unsent)
            if event & ~select.POLLOUT and lane.fd >= 0:
                self._receive(lane)
        if self._connecting:
            self._connected()
        now = time.perf_counter_ns()
        if now >= self._look_ns:
            self._look_ns = now + min(LOOK_NS, self._timeout_ns // 10)
            self._give_up(now)
        done, self._done = self._done, []
        return done

    def _connect(self, lane: _Lane) -> None:
        lane.reused = False
        self._connecting += 1
        self._multi.add_handle(lane.handle)

    def _connected(self) -> None:
        for handle, code, message in self._sockets.finished():
            self._connecting -= 1
            lane, info = self._of[handle], handle.getinfo
            if code:
                self._multi.remove_handle(handle)
                self._failed(lane, code, message, info(pycurl.SSL_VERIFYRESULT))
                continue
            marks = (
                info(pycurl.NAMELOOKUP_TIME_T),
                info(pycurl.CONNECT_TIME_T),
                info(pycurl.APPCONNECT_TIME_T),
            )
            lane.opened = (lane.opened[0] + 1, *marks)
            lane.fd = info(pycurl.ACTIVESOCKET)
            self._sockets.adopt(lane.fd, lane.slot)
            self._send(lane, lane.request)

    def _send(self, lane: _Lane, data: bytes) -> None:
        try:
            sent = lane.handle.send(data)
        except BlockingIOError:
            sent = 0
        except pycurl.error as error:
            self._broken(lane, *error.args)
            return
        if sent == len(data) and not lane.unsent:
            return
        waited, lane.unsent = bool(lane.unsent), data[sent:]
        if waited != bool(lane.unsent):
            self._sockets.also_write(lane.fd, bool(lane.unsent))

    def _receive(self, lane: _Lane) -> None:
        """Take what is there; TLS may hold more than the socket tells of."""
        while True:
            try:
                data = lane.handle.recv(PIECE)
            except BlockingIOError:
                return
            except pycurl.error as error:
                self._broken(lane, *error.args)
                return
            if not lane.busy:  # closed, or an answer to nothing: of no use either way
                self._disconnect(lane)
                return
            if not data:
                if lane.heard and lane.answer.ended():
                    self._finish(lane, 0)
                elif lane.heard:
                    self._broken(
                        lane, SHORT_BODY, f"the connection ended after {lane.answer.size:,} bytes of the body"
                    )
                else:
                    self._broken(lane, EMPTY_REPLY, "Empty reply from server")
                return
            if not lane.heard:
                lane.heard, lane.first_ns = True, time.perf_counter_ns()
            try:
                whole = lane.answer.feed(data)
            except http1.Malformed as error:
                self._broken(lane, WEIRD_REPLY, str(error))
                return
            if whole:
                self._finish(lane, 0)
                return

    def _finish(self, lane: _Lane, error: int) -> None:
        now, begun, answer = time.perf_counter_ns(), lane.begun_ns, lane.answer
        lane.busy = False
        status = first_us = size = http = 0
        if lane.heard:
            status, size, http = answer.status, answer.size, VERSION
            first_us = (lane.first_ns - begun) // 1000
        total_us = (now - begun) // 1000
        self._done.append((lane.slot, error, status, *lane.opened, first_us, total_us, size, http))
        if lane.fd >= 0 and (error or answer.closes or lane.unsent):
            self._disconnect(lane)

    def _failed(self, lane: _Lane, code: int, message: str, verdict: int = 0) -> None:
        kind = kinds.kind_of(code, message, verdict)
        self.messages.setdefault(kind, message)
        self._finish(lane, kinds.NUMBER[kind])

    def _broken(self, lane: _Lane, code: int, message: str = "") -> None:
        """As libcurl does: what a server closed before it heard of the request is opened anew."""
        if lane.busy and lane.reused and not lane.heard:
            self._disconnect(lane)
            self._connect(lane)
        elif lane.busy:
            self._failed(lane, code, message)
        else:
            self._disconnect(lane)

    def _disconnect(self, lane: _Lane) -> None:
        self._sockets.release(lane.fd)
        self._multi.remove_handle(lane.handle)
        lane.fd, lane.unsent = -1, b""

    def _give_up(self, now: int) -> None:
        for lane in self._lanes:
            # libcurl itself ends what takes too long to connect
            if lane.busy and lane.fd >= 0 and now - lane.begun_ns > self._timeout_ns:
                waited_ms = (now - lane.begun_ns) // 1_000_000
                self._failed(lane, TIMED_OUT, f"Operation timed out after {waited_ms} milliseconds")

    def close(self) -> None:
        for lane in self._lanes:
            lane.handle.close()
        self._multi.close()
        self._sockets.close()
