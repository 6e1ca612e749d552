"""The process: open the store, listen on Jaeger's ports, serve until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from meshlib.errors import LabError
from meshlib.lab.tracestore.app import health_app, query_app
from meshlib.lab.tracestore.ingest import OTLP, ZIPKIN, Committer, Receiver
from meshlib.lab.tracestore.otlp_grpc import grpc_server
from meshlib.lab.tracestore.settings import Settings, settings
from meshlib.lab.tracestore.store import Store

LOG = logging.getLogger("tracestore")
COLLECT_AFTER = (100_000, 20, 50)  # a batch makes thousands of tuples and no cycles


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises `LabError` naming the address when it is taken or not ours."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise LabError(f"cannot listen on {address}:{port}: {error.strerror}") from error
    made.listen(1024)
    return made


class ByPort:
    """One ASGI app that hands each request to the app of the port it came in by."""

    def __init__(self, apps: dict[int, Any]) -> None:
        self._apps = apps

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._apps[scope["server"][1]](scope, receive, send)


async def serve(wanted: Settings, store: Store) -> None:
    """Serve until the process is told to stop."""
    committer = Committer(store)
    apps: dict[str, Any] = {
        "query": query_app(store, wanted.base_path),
        "zipkin": Receiver(committer, ZIPKIN, accepted=202),
        "otlp-http": Receiver(committer, OTLP, accepted=200),
        "health-v1": health_app({"status": "Server available"}),
        "health-v2": health_app({"status": "StatusOK"}),
    }
    sockets = {role: listen(wanted.address, wanted.ports[role]) for role in apps}
    calls = await grpc_server(committer, wanted.address, wanted.ports["otlp-grpc"])
    config = uvicorn.Config(
        ByPort({made.getsockname()[1]: apps[role] for role, made in sockets.items()}),
        http="httptools",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
        date_header=False,
    )
    for role, made in sockets.items():
        LOG.info("%s on %s:%d", role, *made.getsockname()[:2])
    server = Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, setattr, server, "should_exit", True)
    await server.serve(sockets=list(sockets.values()))
    await calls.stop(grace=1)


class Server(uvicorn.Server):
    """uvicorn raises the signal that ended it once more; told to stop, this program has to end with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> int:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        wanted = settings(sys.argv[1:], os.environ)
        with tempfile.TemporaryDirectory(prefix="tracestore-") as spare:
            folder = wanted.folder or Path(spare)
            bounds = (wanted.max_spans, wanted.max_bytes, wanted.max_traces)
            store = Store(folder, max_spans=bounds[0], max_bytes=bounds[1], max_traces=bounds[2])
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            LOG.info("%d spans in %s", store.spans, store.path)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(wanted, store))
            store.close()
    except LabError as error:
        LOG.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
