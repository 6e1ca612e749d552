"""The embedded cluster's API: start, memory, requests per second by kept connections, and watch fan-out."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml
from kubernetes import client, config

from benchmarks.table import Row
from meshlib.lab import cluster

GROUP = "Embedded cluster"
MAPS = "/api/v1/namespaces/default/configmaps"
WATCHERS = 20


class Wire:
    """One kept TLS connection with the admin certificate: the least that a client can cost."""

    def __init__(self, kubeconfig: Path) -> None:
        loaded = yaml.safe_load(kubeconfig.read_text())
        user, server = loaded["users"][0]["user"], loaded["clusters"][0]["cluster"]
        authority = base64.b64decode(server["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as held:  # 0600; ssl reads a client's certificate from files only
            for part in ("client-certificate-data", "client-key-data"):
                held.write(base64.b64decode(user[part]) + b"\n")
            held.flush()
            context.load_cert_chain(held.name)
        host, _, port = server["server"].removeprefix("https://").rpartition(":")
        self.connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> bytes:
        """The body of the answer; RuntimeError for what is no success."""
        sent = None if body is None else json.dumps(body)
        self.connection.request(method, path, sent, {"Content-Type": kind})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text

    def patch(self, name: str, value: str) -> None:
        self.call("PATCH", f"{MAPS}/{name}", {"data": {"k": value}}, "application/merge-patch+json")


def measure(starts: int, count: int) -> list[Row]:
    """Rows of a fresh lab: `starts` starts from nothing, `count` requests of each kind."""
    taken_s: list[float] = []
    for number in range(starts):
        with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
            began = time.perf_counter()
            lab = cluster.start(Path(name) / "lab")
            taken_s.append(time.perf_counter() - began)
            try:
                if number == starts - 1:
                    return [_started(taken_s), *_requests(lab, count)]
            finally:
                lab.stop()
    return []


def _started(taken_s: list[float]) -> Row:
    note = f"median of {len(taken_s)}, best {min(taken_s):.2f}"
    what = "start from an empty home to /readyz"
    return Row(GROUP, what, "s", statistics.median(taken_s), target="≤ 1.5", note=note)


def _requests(lab: cluster.Cluster, count: int) -> list[Row]:
    wire, process = Wire(lab.kubeconfig), psutil.Process(lab.state.pid)
    core = client.CoreV1Api(config.new_client_from_config(str(lab.kubeconfig)))
    rows: list[Row] = []
    made = 0
    for stored in (10, 1000):
        for number in range(made, stored):
            wire.call("POST", MAPS, {"metadata": {"name": f"m{number:04}"}, "data": {"k": "v" * 50}})
        made = stored
        lists = max(10, count // (stored // 10) * 2)
        pairs: dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]] = {
            "get one": (
                count,
                lambda: wire.call("GET", f"{MAPS}/m0003"),
                lambda: core.read_namespaced_config_map("m0003", "default"),
            ),
            "list all": (
                lists,
                lambda: wire.call("GET", MAPS),
                lambda: core.list_namespaced_config_map("default"),
            ),
            "list 10": (
                count,
                lambda: wire.call("GET", f"{MAPS}?limit=10"),
                lambda: core.list_namespaced_config_map("default", limit=10),
            ),
            "patch one": (
                count,
                lambda: wire.patch("m0003", str(time.time())),
                lambda: core.patch_namespaced_config_map(
                    "m0003", "default", {"data": {"k": str(time.time())}}
                ),
            ),
        }
        rows += [_rate(f"{verb} of {stored:,} ConfigMaps", process, *pair) for verb, pair in pairs.items()]
    rows += [_fan_out(lab.kubeconfig, wire), *_kubectl(lab.kubeconfig, wire)]
    resident_mb = process.memory_info().rss / 1e6
    return [
        *rows,
        Row(GROUP, "resident memory of the control plane after that", "MB", resident_mb, target="≤ 120"),
    ]


def _rate(
    what: str, process: psutil.Process, count: int, ours: Callable[[], Any], theirs: Callable[[], Any]
) -> Row:
    """Requests per second by the bare connection, beside the official client's."""
    before = sum(process.cpu_times()[:2])
    rates: list[float] = []
    for call in (ours, theirs):
        call()
        began = time.perf_counter()
        for _ in range(count):
            call()
        rates.append(count / (time.perf_counter() - began))
    used_ms = 1000 * (sum(process.cpu_times()[:2]) - before) / (2 * count + 2)
    note = f"{used_ms:.2f} ms of the server's CPU each"
    return Row(GROUP, what, "requests/s", rates[0], "official client", rates[1], note=note)


def _fan_out(kubeconfig: Path, wire: Wire) -> Row:
    """From sending a patch to the last of many watchers having read the event."""
    rounds = 10
    ready, seen = threading.Barrier(WATCHERS + 1), threading.Barrier(WATCHERS + 1)

    def watch() -> None:
        connection = Wire(kubeconfig).connection
        connection.request("GET", f"{MAPS}?watch=1&fieldSelector=metadata.name%3Dm0007")
        answer = connection.getresponse()
        answer.readline()  # the object as it is
        for _ in range(rounds):
            ready.wait(30)
            answer.readline()
            seen.wait(30)
        connection.close()

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(WATCHERS)]
    for each in threads:
        each.start()
    taken_ms: list[float] = []
    for number in range(rounds):
        ready.wait(30)
        began = time.perf_counter()
        wire.patch("m0007", str(number))
        seen.wait(30)
        taken_ms.append(1000 * (time.perf_counter() - began))
    what = f"patch to the last of {WATCHERS} watchers"
    return Row(
        GROUP, what, "ms", statistics.median(taken_ms), note=f"median of {rounds}, worst {max(taken_ms):.0f}"
    )


def _kubectl(kubeconfig: Path, wire: Wire) -> list[Row]:
    if shutil.which("kubectl") is None:
        return [Row(GROUP, "kubectl get configmap", "s", None, note="kubectl not installed")]
    argv = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "configmap", "m0003"]
    times: list[tuple[float, float]] = []
    for _ in range(5):
        began = time.perf_counter()
        wire.call("GET", f"{MAPS}/m0003")
        middle = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        times.append((middle - began, time.perf_counter() - middle))
    ours, theirs = (statistics.median(each) for each in zip(*times, strict=True))
    return [Row(GROUP, "get one, the bare connection beside a kubectl process", "s", ours, "kubectl", theirs)]
