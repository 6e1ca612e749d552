"""Runs side by side: what the tables say of real runs, and where a curve bends."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import pytest

from meshlib import load
from meshlib.load import compare

COLUMNS = [compare.ASKED, compare.SENT, compare.P50, compare.P99, compare.FAILED]


def sweep_of(*rows: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame([(asked, sent, 1.0, p99, 0) for asked, sent, p99 in rows], columns=COLUMNS)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(100, 100, 2.0), (200, 200, 3.0), (300, 300, 5.9)], 0),
        ([(100, 100, 2.0), (200, 200, 3.0), (300, 300, 6.1)], 300),
        ([(100, 100, 2.0), (200, 189, 3.0), (300, 200, 3.0)], 200),
        ([(100, 100, 2.0), (200, 200, 50.0), (300, 300, 3.0), (400, 300, 9.0)], 400),
        ([], 0),
    ],
    ids=["never", "p99", "falls behind", "one slow step is an accident", "empty"],
)
def test_where_the_curve_bends(rows: list[tuple[float, float, float]], expected: int) -> None:
    assert compare.bend(sweep_of(*rows)) == expected


def test_a_sweep_has_a_row_for_each_rate(server: Any) -> None:
    send = partial(load.run, server.url + "/", connections=2, duration_s=0.3)
    table = compare.sweep(lambda rate: send(rate=rate), [50, 100])
    assert table[compare.ASKED].tolist() == [50, 100]
    assert table[compare.FAILED].tolist() == [0, 0]
    assert (table[compare.P99] >= table[compare.P50]).all()


def test_ways_and_what_opening_costs(server: Any) -> None:
    send = partial(load.run, server.url + "/", connections=2, requests=20, duration_s=None)
    runs = {"warm": send(), "cold": send(keepalive=False)}
    table = compare.ways(runs).set_index("Way")
    assert table["Connections"].to_dict() == {"warm": 2, "cold": 20}
    parts = compare.openings(runs["cold"]).set_index("Part")[compare.P50]
    assert parts["TCP connect"] > 0
    assert parts["TLS handshake"] == 0  # plain HTTP
    assert parts["whole request"] >= parts["request to first byte"] > 0


def test_levels_are_stacked_and_a_hop_that_one_lacks_is_nothing() -> None:
    calm = pd.DataFrame({"percentile": [50], "latency_ms": [2.0], "gateway": [1.0], "sidecar": [1.0]})
    busy = pd.DataFrame({"percentile": [50, 99.9], "latency_ms": [3.0, 4.0], "gateway": [3.0, 4.0]})
    table = compare.stacked({"calm": calm, "busy": busy})
    assert table["Level"].tolist() == ["calm p50", "busy p50", "busy p99.9"]
    assert table["sidecar"].tolist() == [1.0, 0.0, 0.0]
