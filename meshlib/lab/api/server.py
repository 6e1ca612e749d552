"""Serving the API over TLS: uvicorn, with the caller's certificate handed to the application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.server import ServerProtocol

from .app import ApiApp
from .authentication import from_certificate
from .codec import encode
from .errors import StatusError

SHUTDOWN_S = 2
KEEP_ALIVE_S = 300
EXPIRE_EVERY_S = 60
MAX_MESSAGE = 4 * 1024 * 1024
MAX_HEAD = 1024 * 1024  # as Go's server has it
HEAD_S = 32.0  # how long a caller may take to say what it wants


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 that knows who is on the other end, and that refuses what is no HTTP with a Status.

    Anyone may connect, and the parser keeps a header until it is whole: what is no body is counted, and a
    request has to be said in time.
    """

    _received = _bodies = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = from_certificate(transport.get_extra_info("peercert"))
        if peer is not None:
            self.app_state = {**self.app_state, "peer": peer}
        self._deadline = self.loop.call_later(HEAD_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        # A chunk of one byte is said in six.
        if self._received - self._bodies > MAX_HEAD + 16 * self._bodies:
            self._refuse(431, "Request Header Fields Too Large", "the head of the request is too large")
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._received = self._bodies = 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.transport.abort)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bodies += len(body)
        super().on_body(body)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "Bad Request", msg)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        body = encode(StatusError(code, "BadRequest", message).body()) + b"\n"
        head = (
            f"HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Handshake(ServerProtocol):
    """Leaves the subprotocol to the application: kubectl's `SPDY/3.1+portforward.k8s.io` has a slash, which
    the names of RFC 6455 may not have and this library refuses.
    """

    def process_subprotocol(self, headers: Headers) -> None:
        return None


class _Sockets(WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Handshake(max_size=MAX_MESSAGE)


class ApiServer:
    """Serves an `ApiApp`; `started` is set when it listens and `port` then is the true one."""

    def __init__(self, app: ApiApp) -> None:
        self.app = app
        self.started = asyncio.Event()
        self.port = 0
        self._server: uvicorn.Server | None = None

    async def serve(self, host: str, port: int, *, certificate: Path, key: Path, client_ca: Path) -> None:
        """Serve until `stop`; port 0 takes a free one.  Certificates of `client_ca` identify callers."""
        config = uvicorn.Config(
            self.app,
            http=_Protocol,
            ws=_Sockets,
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            ssl_ca_certs=str(client_ca),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        # With the protocol named: asyncio switches Nagle's delay off only on sockets that say they are TCP.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            self.port = listener.getsockname()[1]
            self._server = _Server(config, self.started)
            expiring = asyncio.create_task(self._expire_events())
            try:
                await self._server.serve(sockets=[listener])
            finally:
                expiring.cancel()
                await self.app.close()

    async def _expire_events(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            await self.app.registry.events.expire()

    def stop(self) -> None:
        """End all watches and the server."""
        self.app.closing.set()
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """Says when it listens, and leaves the process's signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config, listening: asyncio.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
