"""uvicorn on one loop with others: no signal handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn

from meshlib.errors import LabError


class Server(uvicorn.Server):
    """One listening socket; `stop` ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the process has one handler for all its servers."""
        yield

    def stop(self) -> None:
        """End after the requests that are under way."""
        self.should_exit = True


async def serve(
    app: Any, host: str, port: int, context: ssl.SSLContext | None = None
) -> tuple[Server, asyncio.Task[None]]:
    """Listen and return when the socket is open.  Raises LabError when it cannot be opened."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    config.load()
    config.ssl = context
    server = Server(config)
    task = asyncio.create_task(server.serve(), name=f"server {host}:{port}")
    while not server.started:
        if task.done():
            raise LabError(f"cannot listen on {host}:{port}") from task.exception()
        await asyncio.sleep(0.005)
    return server, task
