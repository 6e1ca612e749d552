"""Every wire in, every API out: the same span comes through."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meshlib.lab.tracestore import otlp, zipkin, zipkin_proto
from meshlib.lab.tracestore.model import BadSpan

NOW_S = time.time_ns() // 1_000_000_000
NOW_US = NOW_S * 1_000_000
TRACE, PARENT, CHILD = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
OTLP = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "shop"}},
                    {"key": "host", "value": {"stringValue": "h1"}},
                ]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "envoy", "version": "1"},
                    "spans": [
                        {
                            "traceId": TRACE,
                            "spanId": CHILD,
                            "parentSpanId": PARENT,
                            "name": "GET /",
                            "kind": 2,
                            "startTimeUnixNano": f"{NOW_S}000001000",
                            "endTimeUnixNano": f"{NOW_S}000251000",
                            "attributes": [
                                {"key": "http.status_code", "value": {"intValue": "503"}},
                                {"key": "ok", "value": {"boolValue": False}},
                                {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
                            ],
                            "events": [
                                {
                                    "timeUnixNano": f"{NOW_S}000002000",
                                    "name": "retry",
                                    "attributes": [{"key": "attempt", "value": {"intValue": 2}}],
                                }
                            ],
                            "status": {"code": 2, "message": "boom"},
                        }
                    ],
                }
            ],
        }
    ]
}


def protobuf() -> bytes:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, value in (("service.name", "shop"), ("host", "h1")):
        group.resource.attributes.add(key=key).value.string_value = value
    scope = group.scope_spans.add()
    scope.scope.name, scope.scope.version = "envoy", "1"
    span = scope.spans.add(
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex(CHILD),
        parent_span_id=bytes.fromhex(PARENT),
        name="GET /",
        kind=2,
        start_time_unix_nano=NOW_S * 10**9 + 1000,
        end_time_unix_nano=NOW_S * 10**9 + 251000,
    )
    span.attributes.add(key="http.status_code").value.int_value = 503
    span.attributes.add(key="ok").value.bool_value = False
    span.attributes.add(key="list").value.array_value.values.add().string_value = "a"
    event = span.events.add(time_unix_nano=NOW_S * 10**9 + 2000, name="retry")
    event.attributes.add(key="attempt").value.int_value = 2
    span.status.code, span.status.message = 2, "boom"
    return message.SerializeToString()


def test_otlp_json_and_protobuf_are_the_same_spans() -> None:
    [span] = otlp.from_json(json.dumps(OTLP).encode())
    assert otlp.from_protobuf(protobuf()) == [span]
    assert (span.service, span.operation, span.kind) == ("shop", "GET /", "server")
    assert (span.start_us, span.duration_us) == (NOW_S * 1_000_000 + 1, 250)
    assert span.references == (("CHILD_OF", bytes.fromhex(TRACE), bytes.fromhex(PARENT)),)
    assert {**span.texts, **dict(span.tags)} == {
        "http.status_code": 503,
        "ok": False,
        "list": '["a"]',
        "otel.scope.name": "envoy",
        "otel.scope.version": "1",
        "span.kind": "server",
        "otel.status_code": "ERROR",
        "otel.status_description": "boom",
        "error": True,
    }
    assert span.logs == ((NOW_S * 1_000_000 + 2, (("event", "retry"), ("attempt", 2))),)


def test_bodies_that_are_none_are_refused() -> None:
    for wrong in (b"{", b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}'):
        with pytest.raises(BadSpan):
            otlp.from_json(wrong)
    late = json.dumps(OTLP).replace(f"{NOW_S}000001000", "soon").encode()
    with pytest.raises(BadSpan, match="soon"):
        otlp.from_json(late)
    with pytest.raises(BadSpan):
        zipkin.from_json(b'[{"traceId":"1","id":"1","timestamp":99999999999999999999}]')
    with pytest.raises(BadSpan):
        otlp.from_protobuf(b"\xff\xff")
    with pytest.raises(BadSpan):
        zipkin_proto.from_protobuf(b"\xff\xff")


def zipkin_bytes() -> bytes:
    batch = zipkin_proto._list_of_spans()()
    span = batch.spans.add(
        trace_id=bytes.fromhex(TRACE),
        id=bytes.fromhex(PARENT),
        kind=1,
        name="out",
        timestamp=NOW_S * 10**6,
        duration=9,
    )
    span.local_endpoint.service_name = "gate"
    span.local_endpoint.ipv4 = bytes([127, 9, 1, 2])
    span.remote_endpoint.port = 8080
    span.tags.add(key="http.method", value="GET")
    span.annotations.add(timestamp=NOW_S * 10**6 + 1, value="sent")
    return bytes(batch.SerializeToString())


def test_zipkin_protobuf_is_read() -> None:
    [span] = zipkin_proto.from_protobuf(zipkin_bytes())
    assert (span.service, span.operation, span.kind, span.duration_us) == ("gate", "out", "client", 9)
    assert {**span.texts, **dict(span.tags)} == {
        "http.method": "GET",
        "span.kind": "client",
        "peer.port": 8080,
        "internal.span.format": "zipkin",
    }
    assert span.process_tags == (("ip", "127.9.1.2"),)


def test_all_wires_and_all_answers_of_a_running_store(running: Any) -> None:
    packed = gzip.compress(json.dumps(OTLP).encode())
    assert running.call(
        4318, "/v1/traces", packed, Content_Type="application/json", Content_Encoding="gzip"
    ) == (
        200,
        b"{}",
    )
    assert running.call(4318, "/v1/traces", protobuf(), Content_Type="application/x-protobuf") == (200, b"")
    assert (
        running.call(9411, "/api/v2/spans", zipkin_bytes(), Content_Type="application/x-protobuf")[0] == 202
    )
    with grpc.insecure_channel(f"127.0.0.1:{running.ports[4317]}") as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert export(protobuf(), timeout=5) == b""
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            export(b"\xff\xff", timeout=5)

    [trace] = running.get(16686, f"/api/traces/{TRACE}")["data"]
    assert {span["spanID"] for span in trace["spans"]} == {PARENT, CHILD}  # sent three times, shown once
    [child] = [span for span in trace["spans"] if span["spanID"] == CHILD]
    assert {"key": "http.status_code", "type": "int64", "value": 503} in child["tags"]
    assert child["logs"][0]["fields"][0] == {"key": "event", "type": "string", "value": "retry"}
    assert running.get(16686, "/api/dependencies")["data"] == [
        {"parent": "gate", "child": "shop", "callCount": 3}
    ]

    result = running.get(16686, f"/api/v3/traces/{TRACE}")["result"]["resourceSpans"]
    [group] = [each for each in result if each["resource"]["attributes"][0]["value"]["stringValue"] == "shop"]
    [span] = group["scopeSpans"][0]["spans"]
    sent = OTLP["resourceSpans"][0]["scopeSpans"][0]["spans"][0]  # type: ignore[index]
    for member in ("traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "status"):
        assert span[member] == sent[member], member
    assert span["events"][0]["name"] == "retry"


def test_v3_searches_and_errors(running: Any) -> None:
    assert (
        running.call(4318, "/v1/traces", json.dumps(OTLP).encode(), Content_Type="application/json")[0] == 200
    )
    window = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2099-01-01T00:00:00.123456789Z"
    assert running.get(16686, "/api/v3/services") == {"services": ["shop"]}
    assert running.get(16686, "/api/v3/operations?service=shop") == {
        "operations": [{"name": "GET /", "spanKind": "server"}]
    }
    assert running.call(16686, f"/api/v3/traces?query.service_name=shop&{window}")[0] == 200
    status, body = running.call(16686, f"/api/v3/traces?query.serviceName=none&{window}")
    assert (status, json.loads(body)) == (404, {"error": {"httpCode": 404, "message": "No traces found"}})
    assert running.call(16686, "/api/v3/traces?query.serviceName=shop")[0] == 400


def test_trace_summaries_count_errors_and_orphans_by_service(running: Any) -> None:
    def each(id_: str, service: str, start: int, parent: str = "", **tags: str) -> dict[str, Any]:
        made = {"traceId": "a", "id": id_, "name": f"op {id_}", "timestamp": NOW_US + start, "duration": 100}
        return (
            made
            | {"localEndpoint": {"serviceName": service}, "tags": tags}
            | ({"parentId": parent} if parent else {})
        )

    spans = [
        each("2", "app", 10, "1", error="true"),
        each("1", "gate", 20),
        each("3", "app", 950, "77"),
    ]
    assert running.post_zipkin(spans) == 202
    window = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2099-01-01T00:00:00Z"
    [found] = running.get(16686, f"/api/v3/trace-summaries?query.service_name=app&{window}")["summaries"]
    assert found == {
        "traceId": f"{10:032x}",
        "rootServiceName": "gate",
        "rootOperationName": "op 1",
        "minStartTimeUnixNano": str((NOW_US + 10) * 1000),
        "maxEndTimeUnixNano": str((NOW_US + 1050) * 1000),
        "spanCount": 3,
        "errorSpanCount": 1,
        "orphanSpanCount": 1,
        "services": [
            {"name": "app", "spanCount": 2, "errorSpanCount": 1},
            {"name": "gate", "spanCount": 1, "errorSpanCount": 0},
        ],
    }
    empty = running.get(16686, f"/api/v3/trace-summaries?query.service_name=nobody&{window}")
    assert empty == {"summaries": []}
    assert running.call(16686, "/api/v3/trace-summaries?query.service_name=app")[0] == 400


def test_page_metrics_archive_raw_and_pretty(running: Any) -> None:
    assert (
        running.call(9411, "/api/v2/spans", zipkin_bytes(), Content_Type="application/x-protobuf")[0] == 202
    )
    status, page = running.call(16686, "/search?service=gate")
    assert status == 200
    assert TRACE in page.decode()
    assert "not the Jaeger UI" in page.decode()
    assert running.call(16686, "/api/metrics/calls?service=gate")[0] == 501
    assert running.call(16686, f"/api/archive/{TRACE}", b"")[0] == 500
    raw = running.get(16686, f"/api/traces/{TRACE}?raw=true")["data"][0]["processes"]["p1"]["tags"]
    assert raw == [{"key": "ip", "type": "int64", "value": 0x7F090102}]
    assert b"\n    " in running.call(16686, "/api/services?prettyPrint=true")[1]
