"""The client against answers at the wire: base path, both APIs, full pages, late spans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from meshlib.errors import ClusterError, WaitTimeout
from meshlib.traces import Jaeger

HOME = "istio-ingressgateway.istio-system"


def trace(number: int, start_us: int, *, error: bool = False) -> dict[str, Any]:
    trace_id = f"{number:016x}"
    return {
        "traceID": trace_id,
        "spans": [
            {
                "traceID": trace_id,
                "spanID": f"{number:015x}a",
                "operationName": "op",
                "references": [],
                "startTime": start_us,
                "duration": 2000,
                "tags": [
                    {"key": "http.status_code", "type": "string", "value": "503" if error else "200"},
                    {"key": "error", "type": "bool", "value": error},
                    {"key": "x.own", "type": "int64", "value": number},
                ],
                "processID": "p1",
            }
        ],
        "processes": {"p1": {"serviceName": HOME, "tags": []}},
    }


class Legacy:
    """Answers as Jaeger does: newest first, cut off at the limit, below a base path."""

    def __init__(self, traces: list[dict[str, Any]], base: str = "") -> None:
        self.traces = traces
        self.base = base
        self.searches = 0

    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        if not path.startswith(self.base + "/api/") or "/v3/" in path:
            return 200, b"<!doctype html><title>Jaeger UI</title>"
        name = path.removeprefix(self.base + "/api/")
        if name == "services":
            return 200, json.dumps({"data": [HOME]}).encode()
        if name == "traces" and params is not None:
            self.searches += 1
            low, high, limit = (int(str(params[each])) for each in ("start", "end", "limit"))
            hits = [each for each in self.traces if low <= each["spans"][0]["startTime"] <= high]
            hits.sort(key=lambda each: -each["spans"][0]["startTime"])
            return 200, json.dumps({"data": hits[:limit], "errors": None}).encode()
        return 404, json.dumps({"data": None, "errors": [{"code": 404, "msg": "trace not found"}]}).encode()


@pytest.mark.parametrize("base", ["", "/jaeger"])
def test_finds_the_base_path(base: str) -> None:
    client = Jaeger(Legacy([], base))
    assert client.api == base + "/api"
    assert client.services() == [HOME]


def test_splits_windows_until_no_page_is_full() -> None:
    server = Legacy([trace(n, 1_000_000 + n * 5000) for n in range(1, 431)])
    found = Jaeger(server, page=50).spans(HOME, 0, 10_000_000)
    assert sorted(found["trace_id"]) == [f"{n:032x}" for n in range(1, 431)]
    assert server.searches > 430 / 50


def test_columns_of_a_span() -> None:
    [row] = (
        Jaeger(Legacy([trace(7, 5_000_000, error=True)]))
        .spans(HOME, 0, 10_000_000, columns=["x.own"])
        .to_dict("records")
    )
    assert (row["service"], row["operation"], row["duration_ms"]) == (HOME, "op", 2.0)
    assert (row["status"], row["error"], row["x.own"], row["parent_id"]) == (503, True, "7", "")
    assert row["start"].isoformat() == "1970-01-01T00:00:05+00:00"


class V3:
    """A Jaeger without the legacy search."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, object] | None] = []

    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        self.asked.append(params)
        if path == "/jaeger/api/v3/services":
            return 200, b'{"services":["a"]}'
        if path == "/jaeger/api/v3/traces":
            span = {
                "traceId": "ab" * 16,
                "spanId": "01" * 8,
                "name": "op",
                "kind": 2,
                "startTimeUnixNano": "5000000000",
                "endTimeUnixNano": "5002500000",
                "attributes": [{"key": "http.status_code", "value": {"stringValue": "200"}}],
                "status": {"code": 2},
            }
            group = {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]},
                "scopeSpans": [{"spans": [span]}],
            }
            return 200, json.dumps({"result": {"resourceSpans": [group]}}).encode()
        return 404, b"404 page not found\n"


def test_falls_back_to_v3() -> None:
    server = V3()
    client = Jaeger(server)
    [row] = client.spans("a", 4_000_000, 6_000_000).to_dict("records")
    assert client.api == "/jaeger/api/v3"
    assert (row["service"], row["kind"], row["duration_ms"], row["error"]) == ("a", "server", 2.5, True)
    params = server.asked[-1]
    assert params is not None
    assert params["query.start_time_min"] == "1970-01-01T00:00:04.000000Z"


def test_says_what_it_tried_when_there_is_no_jaeger() -> None:
    class Nothing:
        def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
            return 503, b"no endpoints available"

    with pytest.raises(ClusterError, match=r"/jaeger/api/v3/services → 503"):
        _ = Jaeger(Nothing()).api


def test_waits_for_late_spans_and_says_what_is_missing() -> None:
    server = Legacy([trace(1, 1_000_000)])
    client = Jaeger(server)
    with pytest.raises(WaitTimeout, match="1 of 2 traces missing"):
        client.wait_for(HOME, 0, trace_ids=[f"{1:032x}", f"{2:032x}"], timeout_s=0.3)
    server.traces.append(trace(2, 1_000_500))
    assert len(client.wait_for(HOME, 0, trace_ids=[f"{1:032x}", f"{2:032x}"], timeout_s=0.3)) == 2
