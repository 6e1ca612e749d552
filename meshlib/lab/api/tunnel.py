"""Port-forward as kubectl 1.30 and later asks for it: SPDY/3.1 inside the binary messages of a WebSocket.

For each connection the client opens two streams with the headers `port` and `requestid`: one of
`streamtype: error`, on which only the server speaks, and one of `streamtype: data`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from starlette.websockets import WebSocket, WebSocketDisconnect

from . import spdy
from .errors import StatusError
from .node import Node
from .store import Obj

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHUNK = 32 * 1024


@dataclass
class _Pair:
    """The two streams of one forwarded connection, and what of them has come so far."""

    port: str
    error: int = 0
    data: int = 0
    inbox: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)


class Tunnel:
    """All connections of one `kubectl port-forward`."""

    def __init__(self, pod: Obj, node: Node, socket: WebSocket) -> None:
        self._pod, self._node, self._socket = pod, node, socket
        self._session = spdy.Session()
        self._pairs: dict[str, _Pair] = {}
        self._by_stream: dict[int, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client goes; the socket has been accepted."""
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                for frame in self._session.receive(message.get("bytes") or b""):
                    await self._take(frame)
        except WebSocketDisconnect:
            return
        except spdy.ProtocolError:
            await self._socket.close(1002)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Opened(stream, headers):
                await self._open(stream, headers)
            case spdy.Data(stream, payload, end):
                pair = self._by_stream.get(stream)
                if pair is not None and stream == pair.data:
                    if payload:
                        pair.inbox.put_nowait(payload)
                    if end:
                        pair.inbox.put_nowait(None)
            case spdy.Reset(stream):
                if (pair := self._by_stream.get(stream)) is not None:
                    pair.inbox.put_nowait(None)
            case spdy.Ping(number):
                await self._socket.send_bytes(spdy.ping(number))

    async def _open(self, stream: int, headers: dict[str, str]) -> None:
        request, kind = headers.get("requestid", ""), headers.get("streamtype")
        if kind not in ("error", "data"):
            await self._socket.send_bytes(spdy.reset(stream))
            return
        pair = self._pairs.setdefault(request, _Pair(headers.get("port", "")))
        self._by_stream[stream] = pair
        if kind == "error":
            pair.error = stream
        else:
            pair.data = stream
        await self._socket.send_bytes(self._session.reply(stream))
        if pair.error and pair.data:
            task = asyncio.create_task(self._forward(request, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, request: str, pair: _Pair) -> None:
        """One connection to the pod, until both sides have said all."""
        why = ""
        try:
            reader, writer = await asyncio.open_connection(*self._node.reach(self._pod, int(pair.port)))
        except (OSError, ValueError, StatusError) as error:
            meta = self._pod["metadata"]
            why = f"error forwarding port {pair.port} to pod {meta['name']}, uid {meta['uid']}: {error}"
        else:
            inward = asyncio.create_task(self._inward(pair, writer))
            try:
                with contextlib.suppress(ConnectionError):
                    while chunk := await reader.read(CHUNK):
                        await self._socket.send_bytes(spdy.data(pair.data, chunk))
            finally:
                inward.cancel()
                await asyncio.gather(inward, return_exceptions=True)
                writer.close()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.send_bytes(
                spdy.data(pair.error, why.encode(), end=True) + spdy.data(pair.data, b"", end=True)
            )
        for stream in (pair.error, pair.data):
            self._by_stream.pop(stream, None)
        self._pairs.pop(request, None)

    async def _inward(self, pair: _Pair, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (chunk := await pair.inbox.get()) is not None:
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
