"""Runs side by side: a sweep of rates, ways to the same answer, and what opening a connection costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from meshlib.load.result import LoadResult
from meshlib.load.stats import Summary

BEND = 3.0  # the curve has bent where p99 is this many times that of the lowest rate
BEHIND = 0.95  # or where less than this share of the requested rate was reached
ASKED, SENT, P50, P99, FAILED = "Asked (1/s)", "Sent (1/s)", "p50 (ms)", "p99 (ms)", "Failed"


def sweep(send: Callable[[float], LoadResult], rates: Iterable[float]) -> pd.DataFrame:
    """Open loops one after the other, one row a rate: asked and sent (requests/s), p50 and p99 (ms), failed.

    `send` runs one rate, latency counted from the intended send time.
    """
    rows = []
    for rate in rates:
        found = send(rate).numbers
        failed = sum(found.errors.values())
        rows.append((round(rate), round(found.achieved_rate), *_ends(found), failed))
    return pd.DataFrame(rows, columns=[ASKED, SENT, P50, P99, FAILED])


def bend(table: pd.DataFrame) -> int:
    """The lowest rate of a sweep (requests/s) from which on every rate fell behind or had `BEND` times the
    first one's p99; 0 when there is none.  A single slow step in between is an accident, not the bend.
    """
    found = 0
    rows = table[[ASKED, SENT, P99]].to_numpy().tolist()
    for asked, sent, p99 in reversed(rows):
        if sent >= BEHIND * asked and p99 <= BEND * rows[0][2]:
            break
        found = int(asked)
    return found


def ways(runs: Mapping[str, LoadResult]) -> pd.DataFrame:
    """One row a run: Way, Requests/s, p50 and p99 (ms), Connections opened, Failed."""
    rows = [
        (
            name,
            round(run.achieved_rate),
            *_ends(run.numbers),
            run.numbers.connections_opened,
            sum(run.numbers.errors.values()),
        )
        for name, run in runs.items()
    ]
    return pd.DataFrame(rows, columns=["Way", "Requests/s", P50, P99, "Connections", FAILED])


def _ends(numbers: Summary) -> tuple[float, float]:
    return round(numbers.latency_ms["p50"], 3), round(numbers.latency_ms["p99"], 3)


def openings(result: LoadResult) -> pd.DataFrame:
    """What the requests that opened a connection spent, median and p99 in ms: Part, p50, p99.

    libcurl's marks count from the start of the request; a part is the difference of two marks.
    """
    requests = result.requests
    new = requests[requests["new_connection"] & (requests["error"].astype("str") == "")]
    parts = {
        "TCP connect": new["connect_ms"] - new["dns_ms"],
        "TLS handshake": (new["tls_ms"] - new["connect_ms"]).where(new["tls_ms"] > 0, 0.0),
        "request to first byte": new["first_byte_ms"] - new[["connect_ms", "tls_ms"]].max(axis=1),
        "whole request": new["total_ms"],
    }
    rows = [(name, part.quantile(0.5), part.quantile(0.99)) for name, part in parts.items()]
    return pd.DataFrame(rows, columns=["Part", P50, P99]).round(3)


def stacked(levels: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of `traces.breakdown.by_percentile` of several runs under each other, with a column Level
    (`calm p50`); a hop that one of them lacks is 0 there."""
    parts = [
        table.assign(Level=[f"{name} p{percent:g}" for percent in table["percentile"]])
        for name, table in levels.items()
    ]
    joined = pd.concat(parts, ignore_index=True).drop(columns="percentile").fillna(0.0)
    return joined[["Level", *joined.columns.drop("Level")]]
