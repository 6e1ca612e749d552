"""A server of the test's own: answers at once, later, wrongly or not at all, as the path says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest


class Server:
    """HTTP/1.1 on loopback in a thread. `heads` are the request heads that came, `stall_s` is scripted."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(5)
        self.url = f"http://127.0.0.1:{self.port}"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done, self._open = asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()

    def stall(self, at_s: float, for_s: float) -> None:
        """From `at_s` on, answer nothing for `for_s`."""
        self._loop.call_soon_threadsafe(self._loop.call_later, at_s, self._open.clear)
        self._loop.call_soon_threadsafe(self._loop.call_later, at_s + for_s, self._open.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                lengths = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                if lengths:
                    self.bodies.append(await reader.readexactly(int(lengths[0].split(":")[1])))
                await self._open.wait()
                path = head.split(" ")[1]
                if path == "/hang":
                    await asyncio.sleep(30)
                if path == "/cut":
                    break
                status = "503 Service Unavailable" if path == "/503" else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nok\n".encode())
                if path == "/leave":
                    await writer.drain()
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()
