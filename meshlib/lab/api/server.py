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
from .errors import bad_request

SHUTDOWN_S = 2
KEEP_ALIVE_S = 300
EXPIRE_EVERY_S = 60
MAX_MESSAGE = 4 * 1024 * 1024


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 that knows who is on the other end, and that refuses what is no HTTP with a Status."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = from_certificate(transport.get_extra_info("peercert"))
        if peer is not None:
            self.app_state = {**self.app_state, "peer": peer}

    def send_400_response(self, msg: str) -> None:
        body = encode(bad_request(msg).body()) + b"\n"
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        )
        self.transport.write(head + body)
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
