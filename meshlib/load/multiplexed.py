"""HTTP/2 without a transfer a request: many requests share a connection, a send and a receive.

All requests that are due go out in one piece, all answers that are there come in one.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from time import perf_counter_ns as clock
from urllib.parse import urlsplit

import pycurl

from meshlib.load import handles, http2, kinds, links, sockets, tracing
from meshlib.load.links import NONE_OPENED, Broken, Link, Marks
from meshlib.load.plan import NS, Plan
from meshlib.load.wire import Done

PLACE = tracing.PLACE.encode()
VERSION = 3  # libcurl's number of HTTP/2
SHORT_BODY, TIMED_OUT, STREAM = 18, 28, 92
LOOK_NS = NS // 10  # how often requests are looked through for those that take too long
MOST_TRIES = 5  # as libcurl: how often a request is sent that the server says it has not looked at


class Connections:
    """A `Wire` of `plan.connections` connections; slot n is a stream of connection n modulo their number."""

    def __init__(self, plan: Plan, traced: tracing.Lines) -> None:
        self.messages: dict[str, str] = {}
        self._plan = plan
        self._url = urlsplit(plan.requests[0].url)
        self._unusable: Broken | None = None
        self._tls: ssl.SSLContext | None = None
        if self._url.scheme == "https":
            try:
                self._tls = links.context(plan.cacert, plan.cert, plan.key)
            except Broken as error:
                self._unusable = error
        self._multi = pycurl.CurlMulti()
        self._sockets = sockets.Sockets(self._multi)
        blocks = [http2.block(request) for request in plan.requests]
        # by sampled, then by item
        self._blocks = [[http2.with_lines(block, lines) for block in blocks] for lines in traced]
        self._width = plan.connections
        self._lanes: list[Link | None] = [None] * self._width  # where the lane's next request goes
        self._waiting: list[deque[int]] = [deque() for _ in range(self._width)]  # slots, until there is room
        self._lane_of: dict[Link, int] = {}  # all that are open
        self._by_fd: dict[int, Link] = {}
        self._dialled: dict[pycurl.Curl, Link] = {}
        self._dirty: dict[Link, None] = {}  # with something to send
        self._writing: set[Link] = set()  # whose socket took no more
        # by slot
        self._blocks_sent = [b""] * plan.slots
        self._begun_ns = [0] * plan.slots  # 0: nothing is under way
        self._tries: dict[int, int] = {}
        self._marks: dict[int, Marks] = {}
        self._done: list[Done] = []
        self._timeout_ns = int(plan.timeout_s * NS)
        self._look_ns = 0

    def start(self, slot: int, item: int, span: bytes, sampled: bool) -> None:
        self._blocks_sent[slot] = block = self._blocks[sampled][item].replace(PLACE, span)
        self._begun_ns[slot] = clock()
        link = self._lanes[slot % self._width]
        if link is not None and link.ready:
            frames = link.frames
            if len(frames.open) < frames.most:
                frames.request(slot, block)
                self._dirty[link] = None
                return
        self._place(slot)

    def _place(self, slot: int) -> None:
        """Let the request wait for its lane's connection, which is made if there is none."""
        lane = slot % self._width
        if self._unusable is not None:
            self._fail(slot, self._unusable)
            return
        self._waiting[lane].append(slot)
        link = self._lanes[lane]
        if link is None:
            self._dial(lane)
        elif link.ready:
            self._go_on(link)

    def _dial(self, lane: int) -> None:
        handle = handles.handle(self._plan, self._sockets.opened)
        handles.dial_only(handle, self._url)
        link = self._lanes[lane] = Link(handle, self._tls, self._url.hostname or "")
        self._lane_of[link] = lane
        self._dialled[handle] = link
        self._multi.add_handle(handle)

    def step(self, wait_s: float) -> list[Done]:
        self._flush()
        if self._done:
            wait_s = 0
        for fd, event in self._sockets.step(wait_s, len(self._dialled)):
            link = self._by_fd.get(fd)
            if link is None:  # closed in this step
                continue
            if event & select.POLLOUT:
                self._send(link)
            if event & ~select.POLLOUT and link.fd >= 0:
                self._receive(link)
        if self._dialled:
            self._connected()
        now = clock()
        if now >= self._look_ns:
            self._look_ns = now + min(LOOK_NS, self._timeout_ns // 10)
            self._give_up(now)
        done, self._done = self._done, []
        return done

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for link in dirty:
            if link in self._lane_of:  # else closed meanwhile
                self._send(link)

    def _send(self, link: Link) -> None:
        try:
            link.flush()
        except Broken as error:
            self._broken(link, error)
            return
        if bool(link.unsent) != (link in self._writing):
            self._writing ^= {link}
            self._sockets.also_write(link.fd, bool(link.unsent))

    def _connected(self) -> None:
        for handle, code, message in self._sockets.finished():
            link = self._dialled.pop(handle)
            try:
                if code:
                    raise Broken(code, message)
                link.connected()
            except Broken as error:
                self._broken(link, error)
                continue
            self._by_fd[link.fd] = link
            self._sockets.adopt(link.fd, link.fd)
            self._go_on(link)

    def _receive(self, link: Link) -> None:
        ended: list[http2.Stream] = []
        broken = None
        try:
            link.receive(ended)
        except Broken as error:
            broken = error
        self._answers(ended)
        if broken is not None:
            self._broken(link, broken)
        else:
            self._go_on(link)

    def _go_on(self, link: Link) -> None:
        """After news of the connection: send what waits, here or elsewhere."""
        frames, waiting = link.frames, self._waiting[self._lane_of[link]]
        if frames.refused or frames.leaving:
            self._leave(link)
            return
        if waiting and link.ready:
            if not frames.open and link.marks != NONE_OPENED:
                self._marks[waiting[0]], link.marks = link.marks, NONE_OPENED
            while waiting and len(frames.open) < frames.most:
                slot = waiting.popleft()
                frames.request(slot, self._blocks_sent[slot])
        if frames.out or link.unsent:
            self._dirty[link] = None

    def _answers(self, ended: list[http2.Stream]) -> None:
        begun, marks, done = self._begun_ns, self._marks, self._done
        now = clock()
        for stream in ended:
            slot = stream.slot
            if stream.error >= 0 or not stream.status:
                self._fail(slot, Broken(STREAM, _given_up(stream)), stream)
                continue
            if self._tries:
                self._tries.pop(slot, None)
            opened = marks.pop(slot, NONE_OPENED) if marks else NONE_OPENED
            begun_ns, begun[slot] = begun[slot], 0
            first_us, total_us = (stream.first_ns - begun_ns) // 1000, (now - begun_ns) // 1000
            done.append((slot, 0, stream.status, *opened, first_us, total_us, stream.size, VERSION))

    def _leave(self, link: Link) -> None:
        """Send elsewhere what the server will not look at, and what waits when no more may be sent."""
        frames, lane = link.frames, self._lane_of[link]
        refused, frames.refused = frames.refused, []
        moved = [stream.slot for stream in refused]
        if frames.leaving and self._lanes[lane] is link:
            self._lanes[lane] = None
            moved += self._waiting[lane]
            self._waiting[lane].clear()
        for slot in moved:
            self._again(slot, Broken(links.HTTP2, frames.leaving or "the server refused the stream"))
        if frames.leaving and not frames.open:
            self._close(link)

    def _again(self, slot: int, why: Broken) -> None:
        tries = self._tries[slot] = self._tries.get(slot, 1) + 1
        if tries <= MOST_TRIES:
            self._place(slot)
        else:
            self._fail(slot, why)

    def _broken(self, link: Link, why: Broken) -> None:
        """Fail what was under way; what a server closed before it was heard of is sent again."""
        lane = self._lane_of[link]
        waiting: list[int] = []
        if self._lanes[lane] is link:
            waiting = list(self._waiting[lane])
            self._waiting[lane].clear()
        under_way = list(link.frames.open.values())
        self._close(link)
        for stream in under_way:
            if link.frames.answered and not stream.first_ns:
                self._again(stream.slot, why)
            elif stream.first_ns and why.code == links.EMPTY_REPLY:
                text = f"the connection ended after {stream.size:,} bytes of the body"
                self._fail(stream.slot, Broken(SHORT_BODY, text), stream)
            else:
                self._fail(stream.slot, why, stream)
        for slot in waiting:
            if link.frames.answered:
                self._again(slot, why)
            else:
                self._fail(slot, why)

    def _fail(self, slot: int, why: Broken, stream: http2.Stream | None = None) -> None:
        kind = kinds.kind_of(why.code, why.message, why.verdict)
        self.messages.setdefault(kind, why.message)
        self._tries.pop(slot, None)
        begun_ns, self._begun_ns[slot] = self._begun_ns[slot], 0
        total_us = (clock() - begun_ns) // 1000
        opened = self._marks.pop(slot, NONE_OPENED)
        status = first_us = size = http = 0
        if stream is not None and stream.first_ns:
            first_us = (stream.first_ns - begun_ns) // 1000
            status, size, http = stream.status, stream.size, VERSION
        self._done.append((slot, kinds.NUMBER[kind], status, *opened, first_us, total_us, size, http))

    def _give_up(self, now: int) -> None:
        oldest = now - self._timeout_ns
        late = [slot for slot, begun_ns in enumerate(self._begun_ns) if 0 < begun_ns < oldest]
        for slot in late:
            lane = slot % self._width
            waited_ms = (now - self._begun_ns[slot]) // 1_000_000
            why = Broken(TIMED_OUT, f"Operation timed out after {waited_ms} milliseconds")
            if slot in self._waiting[lane]:
                self._waiting[lane].remove(slot)
                self._fail(slot, why)
            for link in [link for link, of in self._lane_of.items() if of == lane]:
                if (stream := link.frames.cancel(slot)) is not None:
                    self._fail(slot, why, stream)
                    self._dirty[link] = None
        for lane in {slot % self._width for slot in late}:
            current = self._lanes[lane]
            if current is not None and not current.ready and not self._waiting[lane]:
                self._close(current)  # nobody waits for it any more

    def _close(self, link: Link) -> None:
        lane = self._lane_of.pop(link)
        if self._lanes[lane] is link:
            self._lanes[lane] = None
        self._dirty.pop(link, None)
        self._writing.discard(link)
        self._dialled.pop(link.handle, None)
        if self._by_fd.pop(link.fd, None) is not None:
            self._sockets.release(link.fd)
        self._multi.remove_handle(link.handle)
        link.close()

    def close(self) -> None:
        for link in list(self._lane_of):
            self._close(link)
        self._multi.close()
        self._sockets.close()


def _given_up(stream: http2.Stream) -> str:
    if stream.error < 0:
        return "the answer ended without a status"
    return f"the server gave up the stream: {http2.name_of(stream.error)}"
