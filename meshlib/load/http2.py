"""HTTP/2 as bytes: requests that are written once, and when their answers are whole (RFC 9113; pure)."""

from __future__ import annotations

import struct
from urllib.parse import urlsplit

from meshlib.load import hpack, http1
from meshlib.load.plan import Plan, Request

DATA, HEADERS, _PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
ONE_FRAME = END_STREAM | END_HEADERS
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = range(1, 5)
REFUSED_STREAM, CANCEL = 7, 8
CODES = (  # the names of error codes, in order
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR"),
    *("ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)
LONGEST_FRAME = 16_384  # both ways: nobody is told of more
LONGEST_BLOCK = LONGEST_FRAME - 1024  # of a request, without its trace headers
WINDOW = LAST_STREAM = 2**31 - 1
REFILL = 2**30  # bytes of answers after which the server may send as many more
FRAME = struct.Struct(">BHBBI")  # the length's upper byte and the rest, type, flags, stream
SIZE, PACK, UNPACK = FRAME.size, FRAME.pack, FRAME.unpack_from
INDEXED = hpack.INDEXED
HOP_BY_HOP = frozenset({"host", "keep-alive", "proxy-connection"})  # and `http1.FRAMING`


class Malformed(Exception):
    """What came is not HTTP/2; says what came instead."""


def suits(plan: Plan) -> bool:
    """Whether every request of the plan can be written once and for all: HTTP/2 to one origin over
    connections that stay open, without a body, with a URL that needs no rewriting."""
    return (
        plan.http == "2" and plan.keepalive and http1.one_origin(plan) and all(map(_is_plain, plan.requests))
    )


def _is_plain(request: Request) -> bool:
    names = {header.partition(":")[0].strip().lower() for header in request.headers}
    return (
        request.body is None
        and not names & HOP_BY_HOP
        and http1.is_plain(request)
        and len(block(request)) <= LONGEST_BLOCK
    )


def block(request: Request) -> bytes:
    """The request's header block, without trace headers: the fields that libcurl writes.

    A header of the request's own replaces the usual one; one without a value takes it away.
    """
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    first = {":method": request.method.upper(), ":path": target, ":scheme": parts.scheme}
    own = [
        (name.strip().lower(), value.strip())
        for name, _, value in (h.partition(":") for h in request.headers)
    ]
    usual = {"user-agent": http1.AGENT, "accept": "*/*"}
    for name, _ in own:
        usual.pop(name, None)
    fields = [*first.items(), (":authority", http1.host(request)), *usual.items(), *own]
    return b"".join(hpack.field(name, value) for name, value in fields if value)


def with_lines(block: bytes, lines: list[str]) -> bytes:
    """The header block with further lines `name: value`."""
    return block + b"".join(hpack.field(*line.split(": ", 1)) for line in lines)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame with its payload."""
    return PACK(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _more(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


_SETTINGS = struct.pack(">HIHIHI", HEADER_TABLE_SIZE, 0, ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, WINDOW)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, _SETTINGS) + _more(0, WINDOW - 65_535)


class Stream:
    """A request under way; times are in ns, of whatever clock the caller has."""

    __slots__ = ("error", "first_ns", "size", "slot", "status")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.status = 0
        self.size = 0  # bytes of the body
        self.first_ns = 0
        self.error = -1  # the code with which the server gave it up


class Connection:
    """One connection's frames. What is to be sent gathers in `out`."""

    def __init__(self) -> None:
        self.out: list[bytes] = [PREFACE]
        self.open: dict[int, Stream] = {}
        self.most = 1  # streams that the server takes at once, which its settings will say
        self.answered = False  # a whole answer has come
        self.leaving = ""  # why no further request may be sent here
        self.refused: list[Stream] = []  # given up, and certain not to have been worked on
        self._next = 1
        self._held = b""
        self._received = 0
        self._greeted = False  # the server's settings have come
        self._plain = False  # frames of answers may come: greeted, and not in the middle of a header block
        self._block: tuple[int, int, bytes] | None = None  # a block that goes on: its stream, flags and bytes

    def request(self, slot: int, block: bytes) -> None:
        """Write a request with this header block."""
        number = self._next
        self._next = number + 2
        if self._next > LAST_STREAM:
            self.leaving = "all numbers of streams are used up"
        self.open[number] = Stream(slot)
        self.out += (PACK(0, len(block), HEADERS, ONE_FRAME, number), block)

    def cancel(self, slot: int) -> Stream | None:
        """Give up the slot's request if it is under way; what still comes of its answer is passed over."""
        for number, stream in self.open.items():
            if stream.slot == slot:
                self.out.append(frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big")))
                return self.open.pop(number)
        return None

    def feed(self, data: bytes, now_ns: int, ended: list[Stream]) -> None:
        """Take bytes; append the streams that ended with them, also those before a raised `Malformed`."""
        if self._held:
            data = self._held + data
        streams, plain = self.open, self._plain
        at, end = 0, len(data)
        while end - at >= SIZE:
            upper, lower, kind, flags, number = UNPACK(data, at)
            begin = at + SIZE
            at = begin + (upper << 16 | lower)
            if at > end:
                if at - begin > LONGEST_FRAME:
                    raise Malformed(f"not a frame of HTTP/2: {data[begin - SIZE : begin + 40]!r}")
                at = begin - SIZE
                break
            if kind > HEADERS or not plain:
                self._control(kind, flags, number, data[begin:at], now_ns, ended)
                plain = self._plain = self._greeted and self._block is None
                continue
            stream = streams.get(number)
            if kind == DATA:
                self._received += at - begin
                if stream is not None:
                    stream.size += (
                        len(_unpadded(flags & PADDED, data[begin:at])) if flags & PADDED else at - begin
                    )
                    if stream.size >= REFILL:
                        self._refill(number, stream.size, at - begin)
            elif not flags & END_HEADERS:
                self._block = number, flags, _unpadded(flags, data[begin:at])
                plain = self._plain = False
                continue
            elif stream is not None and not stream.status:
                if begin < at and not flags & (PADDED | PRIORITIZED):
                    stream.status = INDEXED.get(data[begin], 0)  # nearly every answer under load
                    stream.first_ns = stream.first_ns or now_ns
                if not stream.status:
                    _answered(stream, _unpadded(flags, data[begin:at]), now_ns)
            if flags & END_STREAM and stream is not None:
                ended.append(streams.pop(number))
        self._held = data[at:]
        self.answered = self.answered or bool(ended)
        if self._received >= REFILL:
            self.out.append(_more(0, self._received))
            self._received = 0

    def _refill(self, number: int, size: int, length: int) -> None:
        if size // REFILL > (size - length) // REFILL:
            self.out.append(_more(number, REFILL))

    def _control(
        self, kind: int, flags: int, number: int, payload: bytes, now_ns: int, ended: list[Stream]
    ) -> None:
        """A frame that is not of an answer, or one in the middle of a header block."""
        if not self._greeted and (kind != SETTINGS or flags & ACK):
            raise Malformed(f"not the settings that open HTTP/2: type {kind}, {payload[:40]!r}")
        if self._block is not None:
            self._continued(kind, flags, number, payload, now_ns, ended)
        elif kind == SETTINGS and not flags & ACK:
            self.most = self.most if self._greeted else LAST_STREAM
            self._greeted = True
            for name, value in struct.iter_unpack(">HI", payload[: len(payload) // 6 * 6]):
                if name == MAX_CONCURRENT_STREAMS:
                    self.most = value
            self.out.append(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.out.append(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if (stream := self.open.pop(number, None)) is not None:
                stream.error = int.from_bytes(payload[:4], "big")
                (self.refused if stream.error == REFUSED_STREAM else ended).append(stream)
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8].ljust(8, b"\0"))
            self.leaving = f"GOAWAY {name_of(code)} {payload[8:200].decode(errors='replace')}".strip()
            for each in [each for each in self.open if each > last & LAST_STREAM]:
                self.refused.append(self.open.pop(each))
        elif kind in (PUSH_PROMISE, CONTINUATION):
            raise Malformed(f"a frame that nobody asked for: type {kind}")

    def _continued(
        self, kind: int, flags: int, number: int, payload: bytes, now_ns: int, ended: list[Stream]
    ) -> None:
        assert self._block is not None
        begun_by, begun, block = self._block
        if kind != CONTINUATION or number != begun_by or len(block) > http1.LONGEST_HEAD:
            raise Malformed(f"the header block of stream {begun_by} does not end")
        block += payload
        self._block = None if flags & END_HEADERS else (number, begun, block)
        stream = self.open.get(number)
        if self._block is None and stream is not None:
            if not stream.status:
                _answered(stream, block, now_ns)
            if begun & END_STREAM:
                ended.append(self.open.pop(number))


def _answered(stream: Stream, block: bytes, now_ns: int) -> None:
    """Take the status of a header block, unless it only announces the answer (1xx)."""
    status = hpack.status(block)
    if not status:
        raise Malformed(f"no status begins this header block: {block[:40]!r}")
    stream.first_ns = stream.first_ns or now_ns
    stream.status = status if status >= 200 else 0


def _unpadded(flags: int, payload: bytes) -> bytes:
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= end:
            raise Malformed("a frame that is all padding")
        begin, end = 1, end - payload[0]
    return payload[begin + 5 if flags & PRIORITIZED else begin : end]


def name_of(code: int) -> str:
    """An error code by its name."""
    return CODES[code] if code < len(CODES) else hex(code)
