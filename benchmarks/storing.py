"""The trace store as a process: spans per CPU-second through HTTP, a kill, and searches among many spans."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import spans
from benchmarks.table import Row
from meshlib import wait
from meshlib.lab.tracestore import zipkin
from meshlib.lab.tracestore.store import Store

BATCH = 100
PORTS = ("16686", "9411", "4317", "4318", "14269", "13133")


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """The program on free ports, ready."""
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for port in PORTS:
            made = held.enter_context(socket.socket())
            made.bind(("127.0.0.1", 0))
            ports[port] = made.getsockname()[1]
    env = {
        **os.environ,
        "POD_IP": "127.0.0.1",
        "MESHLIB_PORTS": json.dumps(ports),
        "MESHLIB_DATA": str(folder),
    }
    argv = [sys.executable, "-m", "meshlib.lab.tracestore"]
    with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            wait.until(lambda: _ready(ports["14269"]), "the trace store", timeout_s=60)
            yield process, ports
        finally:
            process.kill()


def _ready(port: int) -> None:
    try:
        _get(port, "/")
    except OSError as error:
        raise wait.NotYet(str(error)) from error


def _get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def ingest(count: int) -> list[Row]:
    """POST `count` spans as Zipkin JSON, kill -9, start again, count."""
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
        bodies = [json.dumps([spans.zipkin(at + n) for n in range(BATCH)]) for at in range(0, count, BATCH)]
        with running(Path(name)) as (process, ports):
            before = sum(psutil.Process(process.pid).cpu_times()[:2])
            connection = http.client.HTTPConnection("127.0.0.1", ports["9411"], timeout=60)
            began = time.perf_counter()
            accepted = 0
            for body in bodies:
                connection.request("POST", "/api/v2/spans", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                accepted += BATCH if answer.status == 202 else 0
            wall_s = time.perf_counter() - began
            used_s = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
            resident_mb = psutil.Process(process.pid).memory_info().rss / 1e6
            connection.close()
            process.kill()
            process.wait()
        with running(Path(name)) as (_, ports):
            found = 0
            window = 100 * 1000  # µs: 1,000 requests
            for start in range(spans.START_US, spans.START_US + count // 2 * 100, window):
                query = f"service={spans.GATEWAY}&start={start}&end={start + window - 1}&limit=2000"
                found += sum(
                    len(trace["spans"])
                    for trace in json.loads(_get(ports["16686"], f"/api/traces?{query}"))["data"]
                )
    what = f"{count:,} spans in batches of {BATCH}, HTTP, Zipkin JSON"
    return [
        Row("Trace store", what, "spans/CPU-s", accepted / used_s, target="≥ 20,000"),
        Row(
            "Trace store",
            what,
            "spans/s",
            accepted / wall_s,
            note="one connection, sender on the same machine",
        ),
        Row(
            "Trace store", "found after kill -9, of those accepted", "%", 100 * found / accepted, target="100"
        ),
        Row("Trace store", "resident memory while it takes them", "MB", resident_mb),
    ]


def search(count: int) -> list[Row]:
    """Time of searches of 1,500 traces through HTTP, median of five."""
    tag = "%22guid:x-request-id%22:%223f0e7a52-bb8c-9d1e-8c4f-000000000007%22"
    queries = {
        "1,500 traces of a service": "",
        "… with a tag that all have": "&tag=http.method:GET",
        "… with a tag that one in a thousand has": "&tag=http.status_code:503",
        "… with a tag that none has": "&tag=http.status_code:418",
        "… longer than 8.7 ms": "&minDuration=8.7ms",
        "one by its request id": f"&tags=%7B{tag}%7D",
    }
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
        store = Store(Path(name), max_spans=2 * count)
        for at in range(0, count, 5000):
            store.add(
                zipkin.from_json(
                    json.dumps([spans.zipkin(at + n) for n in range(min(5000, count - at))]).encode()
                )
            )
        size_mb = store.bytes / 1e6
        store.close()
        rows = [Row("Trace store", f"size of {count:,} spans on disk", "MB", size_mb)]
        with running(Path(name)) as (_, ports):
            for what, query in queries.items():
                times: list[float] = []
                for _ in range(5):
                    began = time.perf_counter()
                    body = _get(ports["16686"], f"/api/traces?service={spans.GATEWAY}&limit=1500{query}")
                    times.append(time.perf_counter() - began)
                traces = len(json.loads(body)["data"])
                note = f"{traces:,} traces, {len(body) / 1e6:.1f} MB"
                what = f"search among {count:,} spans: {what}"
                rows.append(Row("Trace store", what, "s", statistics.median(times), target="≤ 1", note=note))
    return rows
