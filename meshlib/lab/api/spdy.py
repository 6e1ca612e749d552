"""SPDY/3.1 as far as `kubectl port-forward` speaks it: bytes in, frames out, and back.  No I/O.

A frame is eight bytes and its payload.  Control frames: 0x80 0x03, type (2 bytes), flags (1), length (3).
Data frames: stream (4 bytes, first bit 0), flags (1), length (3).  The only flag read here is FIN (1).
Headers are one zlib stream per direction over the whole connection, primed with the dictionary below:
a count, then length and text of each name and value, in four bytes each.
Source: the SPDY/3.1 draft, sections 2.2, 2.6 and 2.6.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

FIN = 1
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
MAX_HEADERS = 64 * 1024
_CANCEL = 5

_WORDS = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie
keep-alive origin
"""
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = [word.replace("_", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()
"""What both sides' header compression starts from; 1,423 bytes."""


class ProtocolError(ValueError):
    """What came is not SPDY/3.1."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side opened a stream."""

    stream: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes on a stream; `end` is the other side's last word on it."""

    stream: int
    payload: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The other side gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is."""

    number: int


Frame = Opened | Data | Reset | Ping


@dataclass
class Session:
    """One side of a connection: the bytes not yet read, and the state of both header compressions."""

    _rest: bytes = b""
    _inflate: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))
    _deflate: zlib._Compress = field(default_factory=lambda: zlib.compressobj(zdict=DICTIONARY))

    def receive(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; raises ProtocolError."""
        self._rest += data
        while len(self._rest) >= 8:
            head, flags = self._rest[:4], self._rest[4]
            length = int.from_bytes(self._rest[5:8], "big")
            if len(self._rest) < 8 + length:
                return
            payload, self._rest = self._rest[8 : 8 + length], self._rest[8 + length :]
            yield from self._frame(head, flags, payload)

    def _frame(self, head: bytes, flags: int, payload: bytes) -> Iterator[Frame]:
        first, second = struct.unpack(">HH", head)
        end = bool(flags & FIN)
        if not first & 0x8000:
            yield Data((first << 16) | second, payload, end)
            return
        if first != 0x8003:
            raise ProtocolError(f"version {first & 0x7FFF} of SPDY")
        if second == SYN_STREAM:
            stream = _number(payload, 0)
            yield Opened(stream, self._headers(payload[10:]))
            if end:
                yield Data(stream, b"", end=True)
        elif second == RST_STREAM:
            yield Reset(_number(payload, 0))
        elif second == PING:
            yield Ping(_number(payload, 0))

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, MAX_HEADERS)
            count, at = _number(text, 0), 4
            found = []
            for _ in range(2 * count):
                size = _number(text, at)
                found.append(text[at + 4 : at + 4 + size].decode("latin-1"))
                at += 4 + size
        except zlib.error as error:
            raise ProtocolError(f"headers that cannot be read: {error}") from error
        return dict(zip(found[::2], found[1::2], strict=True))

    def open(self, stream: int, headers: dict[str, str]) -> bytes:
        """The frame that opens a stream."""
        pairs = [each.encode("latin-1") for pair in headers.items() for each in pair]
        text = struct.pack(">I", len(headers)) + b"".join(
            struct.pack(">I", len(each)) + each for each in pairs
        )
        return _control(SYN_STREAM, struct.pack(">IIxx", stream, 0) + self._compressed(text))

    def reply(self, stream: int) -> bytes:
        """The frame that accepts a stream."""
        return _control(SYN_REPLY, struct.pack(">I", stream) + self._compressed(struct.pack(">I", 0)))

    def _compressed(self, text: bytes) -> bytes:
        return self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """A data frame; with `end` it is the last of its stream.  At most 2**24 - 1 bytes."""
    return struct.pack(">II", stream, (FIN << 24 if end else 0) | len(payload)) + payload


def reset(stream: int) -> bytes:
    return _control(RST_STREAM, struct.pack(">II", stream, _CANCEL))


def ping(number: int) -> bytes:
    return _control(PING, struct.pack(">I", number))


def _control(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8003, kind, len(payload)) + payload


def _number(payload: bytes, at: int) -> int:
    part = payload[at : at + 4]
    if len(part) < 4:
        raise ProtocolError("a frame that is too short")
    return int.from_bytes(part, "big") & 0x7FFFFFFF
