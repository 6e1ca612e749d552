"""Self times, critical paths and hops of traces small enough to check by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from meshlib.traces import breakdown, frames
from meshlib.traces.reconcile import reconcile


def spans(*rows: tuple[str, str, str, int, int], trace_id: str = "a" * 32) -> pd.DataFrame:
    """(span, parent, node or service, start µs, duration µs) → spans."""
    return pd.DataFrame(
        [
            {
                "trace_id": trace_id,
                "span_id": span,
                "parent_id": parent,
                "service": node.split("~")[0],
                "operation": f"op-{span}",
                "start_us": start,
                "start": pd.Timestamp(start, unit="us", tz="UTC"),
                "duration_ms": duration / 1e3,
                "node_id": node if "~" in node else None,
                "kind": "server",
                "error": False,
                "status": 200,
                "flags": "-",
                "upstream": None,
            }
            for span, parent, node, start, duration in rows
        ]
    ).astype({"status": "Int64"})


MESH = spans(("1", "", "router~x", 0, 1000), ("2", "1", "sidecar~y", 200, 600), ("3", "2", "app", 300, 400))


def test_self_time_is_what_no_child_covers() -> None:
    timed = breakdown.self_times(MESH).set_index("span_id")
    assert timed["self_ms"].to_dict() == {"1": 0.4, "2": 0.2, "3": 0.4}
    assert timed["hop"].to_dict() == {"1": "gateway", "2": "sidecar", "3": "app"}


def test_overlapping_children_are_counted_once_and_late_ones_are_cut() -> None:
    found = breakdown.self_times(
        spans(
            ("1", "", "app", 0, 100),
            ("2", "1", "app", 10, 40),
            ("3", "1", "app", 30, 40),
            ("4", "1", "app", 90, 50),
        )
    )
    assert found.set_index("span_id")["self_ms"]["1"] == pytest.approx(0.030)


def test_a_sidecar_without_an_app_span_says_so() -> None:
    found = breakdown.self_times(MESH[MESH["span_id"] != "3"])
    assert found["hop"].tolist() == ["gateway", "sidecar+app"]


def test_a_sidecars_call_of_its_app_is_the_apps_time() -> None:
    trace = spans(
        ("1", "", "router~x", 0, 1000), ("2", "1", "sidecar~y", 200, 600), ("3", "2", "sidecar~y", 300, 400)
    )
    upstreams = ["outbound|80||s", "inbound|80||", "inbound|80||"]
    found = breakdown.self_times(trace.assign(kind=["client", "server", "client"], upstream=upstreams))
    assert found["hop"].tolist() == ["gateway", "sidecar", "app"]


def test_critical_path_follows_the_child_that_was_waited_for() -> None:
    trace = spans(
        ("1", "", "a", 0, 1000),
        ("2", "1", "b", 100, 300),
        ("3", "1", "c", 150, 700),
        ("4", "3", "d", 200, 100),
    )
    path = breakdown.critical_path(trace)
    assert [tuple(row) for row in path[["operation", "from_ms", "to_ms"]].to_numpy()] == [
        ("op-1", 0.0, 0.1),
        ("op-2", 0.1, 0.15),
        ("op-3", 0.15, 0.2),
        ("op-4", 0.2, 0.3),
        ("op-3", 0.3, 0.85),
        ("op-1", 0.85, 1.0),
    ]
    assert path["ms"].sum() == pytest.approx(1.0)


def requests(*ids: str, **changes: Any) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "trace_id": each,
                "latency_ms": 2.0,
                "total_ms": 1.7,
                "connect_ms": 0.1,
                "tls_ms": 0.2,
                "error": "",
                "status": 200,
                "sampled": True,
                **changes,
            }
            for each in ids
        ]
    )


def test_hops_add_up_to_the_latency() -> None:
    [row] = breakdown.hops(requests("a" * 32, "b" * 32), MESH).to_dict("records")
    assert row == pytest.approx(
        {
            "trace_id": "a" * 32,
            "latency_ms": 2.0,
            "client": 0.5,
            "network": 0.5,
            "gateway": 0.4,
            "sidecar": 0.2,
            "app": 0.4,
        }
    )
    table = breakdown.by_percentile(breakdown.hops(requests("a" * 32), MESH), (50, 99))
    assert table["percentile"].tolist() == [50, 99]
    assert table[["client", "network", "gateway", "sidecar", "app"]].sum(axis=1).tolist() == pytest.approx(
        [2.0, 2.0]
    )


def test_reconciliation_of_what_the_client_sampled() -> None:
    sent = requests("a" * 32, "b" * 32)
    found = reconcile(sent, MESH, spans_each=3)
    assert (found.low, found.found, found.missing, found.complete) == (2, 1, ("b" * 32,), False)
    assert reconcile(requests("a" * 32), MESH, spans_each=3).complete
    assert reconcile(requests("a" * 32), MESH, spans_each=4).short == ("a" * 32,)
    assert reconcile(requests("c" * 32, sampled=False), MESH, spans_each=3).foreign == 1


def test_reconciliation_of_what_the_mesh_sampled() -> None:
    sent = requests(*(f"{n:032x}" for n in range(1000)))
    some = pd.concat([MESH.assign(trace_id=f"{n:032x}") for n in range(100)])
    assert reconcile(sent, some, spans_each=3, share=0.1).complete
    assert not reconcile(sent, some, spans_each=3, share=0.5).complete
    assert (
        reconcile(sent, some, spans_each=3, share=0.1).low,
        reconcile(sent, some, spans_each=3, share=0.1).high,
    ) == (75, 125)


def test_tables_of_traces_errors_and_calls() -> None:
    failing = MESH.assign(trace_id="f" * 32, error=True, status=pd.array([503] * 3, dtype="Int64"))
    both = pd.concat([MESH, failing], ignore_index=True)
    table = frames.traces(both)
    assert table["spans"].tolist() == [3, 3]
    assert table["duration_ms"].tolist() == [1.0, 1.0]
    assert table["service"].tolist() == ["router", "router"]
    assert set(frames.errors(both)["trace_id"]) == {"f" * 32}
    calls = frames.dependencies(both)
    assert calls[["parent", "child", "calls", "errors"]].to_numpy().tolist() == [
        ["router", "sidecar", 2, 1],
        ["sidecar", "app", 2, 1],
    ]
    assert frames.percentiles(both).set_index("service")["p50_ms"].to_dict() == {
        "router": 1.0,
        "sidecar": 0.6,
        "app": 0.4,
    }
    assert frames.outliers(table, worst=1)["times_median"].tolist() == [1.0]
