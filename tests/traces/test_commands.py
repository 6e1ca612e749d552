"""`meshlib traces` against a server at its wire."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from meshlib.errors import ParameterError
from meshlib.traces.commands import traces, window_us

SPANS = [
    {
        "spanID": f"{n:016x}",
        "operationName": "op",
        "references": [{"refType": "CHILD_OF", "traceID": "a", "spanID": f"{n - 1:016x}"}] if n > 1 else [],
        "startTime": 1000 + n,
        "duration": 5000 - 1000 * n,
        "processID": f"p{n}",
    }
    for n in (1, 2)
]
TRACE = {
    "traceID": "a",
    "spans": SPANS,
    "processes": {"p1": {"serviceName": "gateway"}, "p2": {"serviceName": "app"}},
}


class Wire:
    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        data: list[Any] = ["gateway"] if path.endswith("services") else [TRACE]
        if params and params.get("service") != "gateway":
            data = []
        return 200, json.dumps({"data": data}).encode()


@pytest.fixture
def invoke() -> Any:
    def run(*args: str) -> str:
        result = CliRunner().invoke(traces, args, obj={"jaeger": lambda kubeconfig, context: Wire()})
        if result.exception is not None:
            raise result.exception
        return result.stdout

    return run


def test_prints_tables(invoke: Any) -> None:
    text = invoke("--service", "gateway")
    assert "1 traces, 2 spans in 5m" in text
    assert "slowest" in text


def test_json_and_csv(invoke: Any) -> None:
    document = json.loads(invoke("--service", "gateway", "--json"))
    assert document["traces"][0]["trace_id"] == f"{10:032x}"
    assert document["dependencies"] == [
        {"parent": "gateway", "child": "app", "calls": 1, "errors": 0, "p50_ms": 3.0, "p99_ms": 3.0}
    ]
    rows = list(csv.DictReader(io.StringIO(invoke("--service", "gateway", "--csv"))))
    assert [row["service"] for row in rows] == ["gateway", "app"]


def test_names_what_is_known_when_nothing_is_found(invoke: Any) -> None:
    assert "services that Jaeger knows: gateway" in invoke("--service", "other", "--last", "1h")


def test_windows_and_refusals(invoke: Any) -> None:
    assert (window_us("30s"), window_us("5m"), window_us("2h")) == (30_000_000, 300_000_000, 7_200_000_000)
    for args in (["--last", "soon"], ["--tag", "x"], ["--json", "--csv"]):
        with pytest.raises(ParameterError):
            invoke("--service", "gateway", *args)


def test_spans_and_traces_as_files(invoke: Any, tmp_path: Path) -> None:
    for name in ("spans.csv", "spans.parquet", "traces.json"):
        assert "1 traces, 2 spans" in invoke("--service", "gateway", "--out", str(tmp_path / name))
    found = pd.read_parquet(tmp_path / "spans.parquet")
    assert found["duration_ms"].tolist() == [4.0, 3.0]
    assert found["service"].tolist() == ["gateway", "app"]
    assert len((tmp_path / "spans.csv").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "traces.json").read_text())["traces"][0]["spans"] == 2
    with pytest.raises(ParameterError, match=r"out: a\.txt"):
        invoke("--service", "gateway", "--out", "a.txt")


def test_what_is_wrong_is_refused_before_jaeger_is_asked(invoke: Any) -> None:
    for args, finding in (
        (["--service", ""], "service: it has no name"),
        (["--service", "x", "--last", "0m"], "last: '0m'"),
        (["--service", "x", "--last", "99999999999d"], "at most 3650d"),
        (["--service", "x", "--url", "nonsense"], "url: 'nonsense'"),
        (["--service", "x", "--tag", "novalue"], "tag: 'novalue'"),
    ):
        with pytest.raises(ParameterError, match=finding):
            invoke(*args)
