"""The trace store as a process: what it accepted is there after a kill."""

from __future__ import annotations

import json
import time
from typing import Any

NOW_US = time.time_ns() // 1000


def zipkin_span(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "traceId": f"{number + 1:032x}",
        "id": f"{number + 1:016x}",
        "name": "gohttpserver.httpserver-istio.svc.cluster.local:80/healthz",
        "kind": "CLIENT",
        "timestamp": NOW_US - 1000 * number,
        "duration": 1500,
        "localEndpoint": {"serviceName": "istio-ingressgateway.istio-system", "ipv4": "127.9.1.2", "port": 0},
        "tags": {"http.status_code": "200", "guid:x-request-id": f"request-{number}"},
        **changes,
    }


def test_accepted_spans_survive_a_kill(running: Any) -> None:
    for batch in range(20):
        assert running.post_zipkin([zipkin_span(batch * 5 + n) for n in range(5)]) == 202
    running.kill()
    running.start()
    found = running.get(16686, "/api/traces?service=istio-ingressgateway.istio-system&limit=1000")["data"]
    assert {trace["traceID"] for trace in found} == {f"{n:016x}" for n in range(1, 101)}


def test_one_span_as_jaeger_shows_it(running: Any) -> None:
    child = zipkin_span(0, id="00000000000000bb", parentId="1", kind="SERVER")
    assert running.post_zipkin([zipkin_span(0), child]) == 202
    [trace] = running.get(16686, "/api/traces/1")["data"]
    first, second = sorted(trace["spans"], key=lambda span: len(span["references"]))
    assert first["operationName"] == "gohttpserver.httpserver-istio.svc.cluster.local:80/healthz"
    assert (first["startTime"], first["duration"]) == (NOW_US, 1500)
    assert {"key": "span.kind", "type": "string", "value": "client"} in first["tags"]
    assert {"key": "internal.span.format", "type": "string", "value": "zipkin"} in first["tags"]
    assert second["references"] == [
        {"refType": "CHILD_OF", "traceID": trace["traceID"], "spanID": "0000000000000001"}
    ]
    process = trace["processes"][first["processID"]]
    assert process["serviceName"] == "istio-ingressgateway.istio-system"


def test_answers_errors_as_jaeger_does(running: Any) -> None:
    status, body = running.call(16686, "/api/traces")
    assert (status, json.loads(body)["errors"]) == (
        400,
        [{"code": 400, "msg": "parameter 'service' is required"}],
    )
    status, body = running.call(16686, "/api/traces/abc")
    assert (status, json.loads(body)["errors"]) == (404, [{"code": 404, "msg": "trace not found"}])
    assert running.call(9411, "/api/v2/spans", b"{", Content_Type="application/json")[0] == 400
    assert running.call(9411, "/api/v2/spans", b"[]", Content_Type="text/csv")[0] == 415


def test_searches_by_tag_that_is_shared_and_by_tag_that_is_not(running: Any) -> None:
    spans = [
        zipkin_span(n, tags={"http.status_code": "500" if n == 7 else "200", "guid:x-request-id": f"r{n}"})
        for n in range(300)
    ]
    assert running.post_zipkin(spans[:150]) == 202
    assert running.post_zipkin(spans[150:]) == 202
    base = "/api/traces?service=istio-ingressgateway.istio-system&limit=1000"

    def ids(query: str) -> set[str]:
        return {trace["traceID"] for trace in running.get(16686, base + query)["data"]}

    assert ids("&tag=http.status_code:500") == {f"{8:016x}"}
    assert ids("&tag=guid:x-request-id:r9") == set()  # Jaeger cuts at the first colon
    assert ids("&tags=%7B%22guid:x-request-id%22:%22r9%22%7D") == {f"{10:016x}"}
    assert ids("&tags=%7B%22guid:x-request-id%22:%22r290%22%7D") == {f"{291:016x}"}
    assert len(ids("&tag=http.status_code:200")) == 299
    assert ids("&tag=nothing:there") == set()


def test_ends_when_told(running: Any) -> None:
    assert running.stop() == 0
