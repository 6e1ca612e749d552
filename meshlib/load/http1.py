"""HTTP/1.1 as bytes: what a request looks like, and when its answer is whole (RFC 9112; pure)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from meshlib.load.plan import Plan, Request

AGENT = "meshlib-load"
FORM = "application/x-www-form-urlencoded"  # what libcurl says of a body when nobody says otherwise
LONGEST_HEAD = 300 * 1024  # libcurl's limit
HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
PLAIN_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
DOTS = re.compile(r"/\.{1,2}(?:/|$)")
FRAMING = frozenset(
    {"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"}
)
DEFAULT_PORTS = {"http": "80", "https": "443"}


class Malformed(Exception):
    """The answer is not HTTP/1.1; says what came instead."""


def suits(plan: Plan) -> bool:
    """Whether every request of the plan can be written once and for all: HTTP/1.1 to one origin over
    connections that stay open, a URL that needs no rewriting, no header that changes the framing."""
    return (
        plan.http == "1.1"
        and plan.keepalive
        and one_origin(plan)
        and all(is_plain(each) for each in plan.requests)
    )


def one_origin(plan: Plan) -> bool:
    """Whether all requests of the plan go to the same scheme, host and port."""
    return len({urlsplit(each.url)[:2] for each in plan.requests}) == 1


def is_plain(request: Request) -> bool:
    """Whether the request can be written as it stands: its URL is sent as it is, no header frames it."""
    parts = urlsplit(request.url)
    names = {header.partition(":")[0].strip().lower() for header in request.headers}
    return (
        PLAIN_URL.fullmatch(request.url) is not None
        and "@" not in parts.netloc
        and not DOTS.search(parts.path)
        and request.method.upper() != "CONNECT"
        and not names & FRAMING
        and all(header.isascii() for header in request.headers)
    )


def head(request: Request) -> str:
    """The request's lines as libcurl writes them, without those for traces and the end of the last one.

    A header of the request's own replaces the usual one; one without a value takes it away.
    """
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    usual = {"Host": host(request), "User-Agent": AGENT, "Accept": "*/*"}
    if request.body is not None:
        usual |= {"Content-Length": str(len(request.body)), "Content-Type": FORM}
    replaced = {header.partition(":")[0].strip().lower() for header in request.headers}
    lines = [f"{name}: {value}" for name, value in usual.items() if name.lower() not in replaced]
    lines += [header for header in request.headers if header.partition(":")[2].strip()]
    return "\r\n".join([f"{request.method.upper()} {target} HTTP/1.1", *lines])


def host(request: Request) -> str:
    """What `Host` says: the port only where it is not the scheme's own."""
    parts = urlsplit(request.url)
    name, _, port = parts.netloc.rpartition(":")
    return name if port in ("", DEFAULT_PORTS[parts.scheme]) and name else parts.netloc


class Answer:
    """Takes the bytes of one answer after the other; `begin` each."""

    __slots__ = (
        "_chunked",
        "_held",
        "_in_body",
        "_left",
        "_no_body",
        "_parted",
        "_trailers",
        "_until_end",
        "closes",
        "size",
        "status",
    )

    def __init__(self) -> None:
        self._no_body = False
        self._reset()

    def begin(self, no_body: bool) -> None:
        """The next answer; `no_body` when it is one to HEAD."""
        self._no_body = no_body
        if self._parted:
            self._reset()

    def _reset(self) -> None:
        self._parted = False  # the answer did not come in one piece, or not with a length
        self.status = 0
        self.size = 0  # bytes of the body, without the framing of chunks
        self.closes = False  # the connection cannot be used again
        self._in_body = self._chunked = self._trailers = self._until_end = False
        self._held = b""
        self._left = 0  # bytes of the body or the chunk that are still to come

    def feed(self, data: bytes) -> bool:
        """Whether the answer is whole with these bytes. Raises `Malformed`."""
        if not self._parted:
            if self._at_once(data):
                return True
            self._reset()
            self._parted = True
        while not self._in_body:
            if self._held:
                data, self._held = self._held + data, b""
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > LONGEST_HEAD or not data.startswith(b"HTTP/"[: len(data)]) or b"\n\n" in data:
                    raise Malformed(f"not an answer of HTTP/1.1: {data[:40]!r}")
                self._held = data
                return False
            self._in_body = self._head(data[:end])
            data = data[end + 4 :]
            if self._in_body and not (self._left or self._chunked or self._until_end):
                return self._whole(data)
        if self._chunked:
            return self._chunks(data)
        if self._until_end:
            self.size += len(data)
            return False
        taken = min(len(data), self._left)
        self.size += taken
        self._left -= taken
        return not self._left and self._whole(data[taken:])

    def _at_once(self, data: bytes) -> bool:
        """Nearly every answer under load: one piece, and a length that it has."""
        text, blank, body = data.partition(b"\r\n\r\n")
        lower = text.lower()
        status = lower[9:12]
        if (
            not blank
            or self._no_body
            or not lower.startswith(b"http/1.1 ")
            or not status.isdigit()
            or status < b"200"
            or b"\r\nconnection:" in lower
            or b"\r\ntransfer-encoding:" in lower
            or _field(lower, b"\r\ncontent-length:") != b"%d" % len(body)
        ):
            return False
        self.status, self.size, self.closes = int(status), len(body), False
        return True

    def ended(self) -> bool:
        """Whether the answer is whole now that the server has closed the connection."""
        return self._until_end

    def _whole(self, surplus: bytes) -> bool:
        if surplus:  # nobody asked for it
            self.closes = True
        return True

    def _head(self, text: bytes) -> bool:
        """Whether this is the head of the answer itself, not of one that only announces it."""
        if not text.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")) or not text[9:12].isdigit():
            raise Malformed(f"not an answer of HTTP/1.1: {text[:40]!r}")
        self.status = status = int(text[9:12])
        if status == 101:
            raise Malformed("the server changed the protocol unasked")
        if status < 200:
            return False
        lower = text.lower()
        connection = _field(lower, b"\r\nconnection:")
        self.closes = b"close" in connection or (text[7:8] == b"0" and b"keep-alive" not in connection)
        if self._no_body or status in (204, 304):
            return True
        length = _field(lower, b"\r\ncontent-length:")
        if b"chunked" in _field(lower, b"\r\ntransfer-encoding:"):
            self._chunked = True
        elif not length:
            self._until_end = self.closes = True
        elif length.isdigit():
            self._left = int(length)
        else:
            raise Malformed(f"content-length is {length[:40]!r}")
        return True

    def _chunks(self, data: bytes) -> bool:
        if self._held:
            data, self._held = self._held + data, b""
        at = 0
        while True:
            if self._left:
                step = min(self._left, len(data) - at)
                at += step
                self._left -= step
                if self._left:
                    return False
            end = data.find(b"\r\n", at)
            if end < 0:
                self._held = data[at:]
                if len(self._held) > LONGEST_HEAD:
                    raise Malformed("a chunk's first line does not end")
                return False
            line, at = data[at:end], end + 2
            if self._trailers:
                if not line:
                    return self._whole(data[at:])
                continue
            size = HEX.match(line)
            if size is None:
                raise Malformed(f"not the size of a chunk: {line[:40]!r}")
            length = int(size[0], 16)
            self.size += length
            self._trailers = not length
            self._left = length + 2 if length else 0


def _field(lower: bytes, name: bytes) -> bytes:
    at = lower.find(name)
    if at < 0:
        return b""
    at += len(name)
    end = lower.find(b"\r\n", at)
    return (lower[at:] if end < 0 else lower[at:end]).strip()
