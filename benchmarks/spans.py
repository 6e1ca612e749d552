"""Spans as a mesh makes them: two a request, with Envoy's and Istio's tags."""

from __future__ import annotations

import time
from typing import Any

GATEWAY, SIDECAR = "istio-ingressgateway.istio-system", "gohttpserver.httpserver-istio"
UPSTREAM = "outbound|80||gohttpserver.httpserver-istio.svc.cluster.local"
OPERATION = "gohttpserver.httpserver-istio.svc.cluster.local:80/healthz"
START_US = time.time_ns() // 1000 - 1_800_000_000  # half an hour ago


def zipkin(number: int) -> dict[str, Any]:
    """Span `number`; an even one is a gateway's, the odd one after it its child."""
    request, side = divmod(number, 2)
    node = "router" if side == 0 else "sidecar"
    span: dict[str, Any] = {
        "traceId": f"{(request + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}",
        "id": f"{number + 1:016x}",
        "name": OPERATION,
        "kind": "CLIENT" if side == 0 else "SERVER",
        "timestamp": START_US + request * 100,
        "duration": 1000 + request % 7777,
        "localEndpoint": {"serviceName": GATEWAY if side == 0 else SIDECAR, "ipv4": "127.9.1.2", "port": 0},
        "tags": {
            "component": "proxy",
            "node_id": f"{node}~127.9.1.2~pod-abc.ns~ns.svc.cluster.local",
            "guid:x-request-id": f"3f0e7a52-bb8c-9d1e-8c4f-{request:012x}",
            "http.url": "https://www.gohttpserver.io/healthz",
            "http.method": "GET",
            "http.protocol": "HTTP/2",
            "http.status_code": "503" if request % 1000 == 0 else "200",
            "downstream_cluster": "-",
            "user_agent": "meshlib-load",
            "peer.address": "127.9.1.2",
            "request_size": "0",
            "response_size": str(3 + request % 200),
            "response_flags": "-",
            "upstream_cluster": UPSTREAM,
            "upstream_cluster.name": UPSTREAM,
            "istio.canonical_revision": "latest",
            "istio.canonical_service": "gohttpserver",
            "istio.mesh_id": "cluster.local",
            "istio.namespace": "httpserver-istio",
        },
    }
    if side:
        span["parentId"] = f"{number:016x}"
    return span


def jaeger(count: int) -> dict[str, Any]:
    """The same spans as Jaeger answers them."""
    traces: list[dict[str, Any]] = []
    for number in range(0, count, 2):
        spans: list[dict[str, Any]] = []
        for name, each in (("p1", zipkin(number)), ("p2", zipkin(number + 1))):
            parent = each.get("parentId")
            spans.append(
                {
                    "traceID": each["traceId"],
                    "spanID": each["id"],
                    "operationName": each["name"],
                    "references": [{"refType": "CHILD_OF", "traceID": each["traceId"], "spanID": parent}]
                    if parent
                    else [],
                    "startTime": each["timestamp"],
                    "duration": each["duration"],
                    "tags": [{"key": k, "type": "string", "value": v} for k, v in each["tags"].items()],
                    "logs": [],
                    "processID": name,
                    "warnings": None,
                }
            )
        processes = {"p1": {"serviceName": GATEWAY, "tags": []}, "p2": {"serviceName": SIDECAR, "tags": []}}
        traces.append(
            {"traceID": spans[0]["traceID"], "spans": spans, "processes": processes, "warnings": None}
        )
    return {"data": traces, "total": 0, "limit": 0, "offset": 0, "errors": None}
