"""A trace store of the test's own: a real process on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib import wait


class StoreProcess:
    """`python -m meshlib.lab.tracestore`, and calls to its ports."""

    def __init__(
        self, folder: Path, *, env: dict[str, str] | None = None, args: tuple[str, ...] = ()
    ) -> None:
        self.ports = _free_ports(16686, 9411, 4317, 4318, 14269, 13133)
        self.env = {
            **os.environ,
            "POD_IP": "127.0.0.1",
            "MESHLIB_PORTS": json.dumps(self.ports),
            "MESHLIB_DATA": str(folder),
            **(env or {}),
        }
        self.args = args
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshlib.lab.tracestore", *self.args], env=self.env, stderr=subprocess.PIPE
        )
        wait.until(self._ready, "the trace store", timeout_s=20)

    def _ready(self) -> None:
        if self.process.poll() is not None:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        try:
            self.get(14269, "/")
        except OSError as error:
            raise wait.NotYet(str(error)) from error

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=10)

    def call(self, port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[port]}{path}", data=body, headers=named
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def get(self, port: int, path: str) -> Any:
        status, body = self.call(port, path)
        assert status == 200, body
        return json.loads(body)

    def post_zipkin(self, spans: list[dict[str, Any]]) -> int:
        return self.call(9411, "/api/v2/spans", json.dumps(spans).encode(), Content_Type="application/json")[
            0
        ]


def _free_ports(*declared: int) -> dict[int, int]:
    """A free port for each, none twice, below those that outgoing connections are given."""
    ports: dict[int, int] = {}
    while len(ports) < len(declared):
        port = random.randint(10_000, 32_000)
        with socket.socket() as made, contextlib.suppress(OSError):
            made.bind(("127.0.0.1", port))
            if port not in ports.values():
                ports[declared[len(ports)]] = port
    return ports


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def running(folder: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(folder)
    yield process
    process.kill()


@pytest.fixture
def store_process() -> type[StoreProcess]:
    """For a test that starts the process in its own way."""
    return StoreProcess
