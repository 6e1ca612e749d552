"""`meshlib load` against hey, wrk and h2load: requests per CPU-second and per second, same Envoy.

Ours verifies the certificate, sends a `traceparent` of its own with each request and keeps a record of
each. The peers verify nothing, send no such header and keep no record. Rounds alternate, so that a busy
machine is busy for all; the table shows the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.table import Row
from benchmarks.target import Target, envoy
from meshlib.load import records

Sample = tuple[float, float]  # requests per CPU-second of the client, requests per second


def _run(argv: Sequence[str]) -> tuple[str, float]:
    """Output and CPU seconds of a finished child."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {output[-300:]}")
    return output, used.ru_utime + used.ru_stime


def _ours(
    target: Target,
    seconds: float,
    http: str,
    connections: int,
    streams: int,
    *,
    rate: float | None = None,
) -> dict:
    argv = [
        sys.executable,
        "-m",
        "meshlib",
        "load",
        target.url,
        "--resolve",
        target.resolve,
        "--cacert",
        str(target.cacert),
    ]
    argv += [
        "--http",
        http,
        "-c",
        str(connections),
        "-m",
        str(streams),
        "-d",
        str(seconds),
        "--trace",
        "w3c",
        "--json",
    ]
    if rate:
        argv += ["--rate", str(rate)]
    found = json.loads(_run(argv)[0].splitlines()[-1])
    if found["errors"]:
        raise RuntimeError(f"requests failed: {found['errors']}")
    return found


@dataclass(frozen=True)
class Peer:
    """How a peer is run, how many connections and streams of each it has, and where it says how many
    requests it made."""

    name: str
    http: str
    connections: int
    streams: int
    argv: tuple[str, ...]
    count: str
    bound: str = ""


PEERS = (
    Peer("hey", "1.1", 64, 1, ("hey", "-c", "64", "-z", "DURATIONs", "URL"), r"\[200\]\s+(\d+)", "≥ 5"),
    Peer("wrk", "1.1", 64, 1, ("wrk", "-t1", "-c64", "-dDURATIONs", "URL"), r"(\d+) requests in", "≥ 0.5"),
    Peer(
        "hey -h2", "2", 1, 64, ("hey", "-h2", "-c", "64", "-z", "DURATIONs", "URL"), r"\[200\]\s+(\d+)", "≥ 5"
    ),
    Peer("h2load", "2", 4, 16, ("h2load", "-c4", "-m16", "-D", "DURATION", "URL"), r"requests: (\d+) total"),
)


def _peer(peer: Peer, url: str, seconds: float) -> Sample:
    output, cpu_s = _run([part.replace("DURATION", f"{seconds:g}").replace("URL", url) for part in peer.argv])
    found = re.search(peer.count, output)
    if found is None:
        raise RuntimeError(f"no count of requests in the output of {peer.argv[0]}: {output[-300:]}")
    return int(found[1]) / cpu_s, int(found[1]) / seconds


def compare(rounds: int, seconds: float) -> list[Row]:
    """Rows for HTTP/1.1 and HTTP/2, then an open loop at half of what the closed one reached."""
    rows: list[Row] = []
    with envoy() as target:
        for peer in PEERS:
            tool, http = peer.argv[0], peer.http
            many = f"{peer.connections} connection{'s' if peer.connections > 1 else ''}"
            what = f"HTTP/{http}, 64 at once on {many}"
            if shutil.which(tool) is None:
                rows.append(
                    Row("Load", what, "1/CPU-s", None, peer.name, note=f"SKIPPED: {tool} is not installed")
                )
                continue
            ours, theirs = [], []
            for _ in range(rounds):
                found = _ours(target, seconds, http, peer.connections, peer.streams)
                ours.append((found["requests"] / found["cpu_s"], found["achieved_rate"]))
                theirs.append(_peer(peer, target.by_address, seconds))
            units = ((0, "requests/CPU-s", peer.bound), (1, "requests/s", "≥ 0.9" if tool == "wrk" else ""))
            for place, unit, bound in units:
                ratios = [mine[place] / other[place] for mine, other in zip(ours, theirs, strict=True)]
                ratio = statistics.median(ratios)
                reached = statistics.median(mine[place] for mine in ours)
                note = f"ratios {min(ratios):.2f} to {max(ratios):.2f}"
                rows.append(Row("Load", what, unit, reached, peer.name, reached / ratio, bound, note))
        closed = _ours(target, seconds, "1.1", 64, 1)["achieved_rate"]
        half = _ours(target, max(seconds, 5), "1.1", 64, 1, rate=round(closed / 2))
        share = 100 * half["achieved_rate"] / half["requested_rate"]
        rows.append(
            Row(
                "Load",
                f"open loop at {half['requested_rate']:,.0f}/s",
                "% of the rate",
                share,
                target="≥ 99.9",
            )
        )
        size = float(records.DTYPE.itemsize)
        rows.append(Row("Load", "size of a recorded request", "bytes", size, target="≤ 100"))
    return rows
