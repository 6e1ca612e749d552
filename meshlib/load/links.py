"""One HTTP/2 connection that libcurl has opened: its socket, its TLS and its frames.

libcurl cannot hand over an encrypted connection on which HTTP/2 was agreed without speaking HTTP/2 itself, at
the cost of a transfer a request; so TLS is `ssl`'s here, verified as libcurl verifies it.
"""

from __future__ import annotations

import socket
import ssl
import time

import pycurl

from meshlib.load import http2

PIECE = 262_144
PROTOCOLS = ["h2", "http/1.1"]
# libcurl's numbers
HTTP2, TLS_HANDSHAKE, EMPTY_REPLY, SEND = 16, 35, 52, 55
RECEIVE, CLIENT_CERTIFICATE, UNTRUSTED, CA_FILE = 56, 58, 60, 77
Marks = tuple[int, int, int, int]
"""How many connections were opened for a request, and their dns, connect and TLS times in µs."""
NONE_OPENED: Marks = (0, 0, 0, 0)


class Broken(Exception):
    """The connection cannot be used: libcurl's code, a text, and OpenSSL's verdict on the certificate."""

    def __init__(self, code: int, message: str, verdict: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.verdict = code, message, verdict


def context(cacert: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """TLS that verifies the server's certificate and name. Raises `Broken` for a file that is of no use."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # as libcurl: each certificate of the file is an anchor
    made.set_alpn_protocols(PROTOCOLS)
    try:
        if cacert:
            made.load_verify_locations(cacert)
        else:
            made.load_default_certs()
    except (ssl.SSLError, OSError) as error:
        raise Broken(CA_FILE, f"the CA file {cacert} cannot be used: {error}") from error
    try:
        if cert:
            made.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise Broken(CLIENT_CERTIFICATE, f"{cert} with {key} cannot be used: {error}") from error
    return made


class Link:
    """A connection from its dialling on. Whatever it does may raise `Broken`."""

    def __init__(self, handle: pycurl.Curl, tls: ssl.SSLContext | None, host: str) -> None:
        self.handle = handle
        self.fd = -1  # below 0: not connected
        self.ready = False  # connected, and HTTP/2 is agreed
        self.frames = http2.Connection()
        self.unsent = b""  # what the socket did not take yet
        self.marks = NONE_OPENED
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._began_ns = time.perf_counter_ns()

    def connected(self) -> None:
        """Take over libcurl's socket."""
        info = self.handle.getinfo
        self.marks = 1, info(pycurl.NAMELOOKUP_TIME_T), info(pycurl.CONNECT_TIME_T), 0
        self.fd = info(pycurl.ACTIVESOCKET)
        self._socket = socket.socket(fileno=self.fd)
        self._socket.setblocking(False)
        if self._tls is None:
            self.ready = True
        else:
            self._shake(self._tls)

    def _shake(self, tls: ssl.SSLObject) -> None:
        """Go on with the handshake."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send(self._outgoing.read())
            return
        except ssl.SSLCertVerificationError as error:
            text = f"SSL certificate problem: {error.verify_message}"
            raise Broken(UNTRUSTED, text, error.verify_code) from error
        except ssl.SSLError as error:
            raise Broken(TLS_HANDSHAKE, f"TLS handshake: {error}") from error
        chosen = tls.selected_alpn_protocol()
        if chosen != PROTOCOLS[0]:
            raise Broken(
                HTTP2,
                f"the server does not speak HTTP/2: offered {' and '.join(PROTOCOLS)}, it chose {chosen}",
            )
        self.marks = (*self.marks[:3], (time.perf_counter_ns() - self._began_ns) // 1000)
        self.ready = True

    def flush(self) -> None:
        """Send what is still unsent and, once the connection is ready, the frames that have gathered."""
        data = b""
        if self.ready and self.frames.out:
            data = b"".join(self.frames.out)
            self.frames.out.clear()
            if self._tls is not None:
                self._tls.write(data)  # into memory, which takes all
                data = self._outgoing.read()
        self._send(data)

    def _send(self, data: bytes) -> None:
        data = self.unsent + data
        try:
            sent = self._socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Broken(SEND, f"the connection broke: {error.strerror}") from error
        self.unsent = data[sent:]

    def receive(self, ended: list[http2.Stream]) -> None:
        """Take what is there; append the streams that ended with it, whatever is raised after them."""
        try:
            data = self._socket.recv(PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            raise Broken(RECEIVE, f"the connection broke: {error.strerror}") from error
        now = time.perf_counter_ns()
        try:
            if not data:
                raise _closed()
            if self._tls is None:
                self.frames.feed(data, now, ended)
                return
            self._incoming.write(data)
            if not self.ready:
                self._shake(self._tls)
            while self.ready and self._incoming.pending:
                data = self._tls.read(PIECE)
                if not data:
                    raise _closed()
                self.frames.feed(data, now, ended)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise Broken(RECEIVE, f"TLS: {error}") from error
        except http2.Malformed as error:
            raise Broken(HTTP2, str(error)) from error

    def close(self) -> None:
        """Let go of the socket, which libcurl closes with the handle."""
        if self.fd >= 0:
            self._socket.detach()
        self.fd, self.ready = -1, False
        self.handle.close()


def _closed() -> Broken:
    return Broken(EMPTY_REPLY, "the server closed the connection")
