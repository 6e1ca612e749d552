"""How a cluster speaks to its endpoints: the protocol, the limits, the times.

Source: istio/istio pilot/pkg/networking/core/cluster_traffic_policy.go; istio-facts C6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.translate import durations
from meshlib.lab.istiod.translate.model import Obj, present

#: istiod's limit where none is set, instead of Envoy's 1024.
UNLIMITED = 4294967295
HTTP2 = {"max_concurrent_streams": 1073741824}


def use_downstream_protocol(http1: Obj) -> Obj:
    """The protocol in which the request came; `http1` are the options for HTTP/1.1."""
    return {
        "use_downstream_protocol_config": {
            "http_protocol_options": http1,
            "http2_protocol_options": dict(HTTP2),
        }
    }


def explicit(options: Obj) -> None:
    """Protocol options must name a protocol: HTTP/1.1 where nothing else was chosen."""
    if "explicit_http_config" not in options and "use_downstream_protocol_config" not in options:
        options["explicit_http_config"] = {"http_protocol_options": {}}


def apply_pool(
    cluster: Obj,
    options: Obj,
    pool: Mapping[str, Any],
    budget: Mapping[str, Any] | None,
    keepalive: Mapping[str, Any] | None,
) -> None:
    """Circuit breakers and connection options; what is not set is unlimited, not Envoy's default.

    keepalive: the mesh's, where the pool has none of its own
    """
    http, tcp = pool.get("http") or {}, pool.get("tcp") or {}
    threshold: Obj = {
        "max_connections": tcp.get("maxConnections") or UNLIMITED,
        "max_pending_requests": http.get("http1MaxPendingRequests") or UNLIMITED,
        "max_requests": http.get("http2MaxRequests") or UNLIMITED,
        "max_retries": http.get("maxRetries") or UNLIMITED,
        "track_remaining": True,
    }
    if budget is not None:
        threshold["retry_budget"] = present(
            budget_percent={"value": budget.get("percent", 20.0)},
            budget_interval=duration(budget.get("budgetInterval")),
            min_retry_concurrency=budget.get("minRetryConcurrency") or 3,
        )
    cluster["circuit_breakers"] = {"thresholds": [threshold]}
    common = present(
        idle_timeout=duration(http.get("idleTimeout") or tcp.get("idleTimeout")),
        max_requests_per_connection=http.get("maxRequestsPerConnection") or None,
        max_connection_duration=duration(tcp.get("maxConnectionDuration")),
    )
    if common:
        options["common_http_protocol_options"] = common
        explicit(options)
    h2 = options.get("explicit_http_config", {}).get("http2_protocol_options")
    if h2 is not None and http.get("maxConcurrentStreams"):
        h2["max_concurrent_streams"] = http["maxConcurrentStreams"]
    if h2 is not None and (alive := http.get("http2KeepAlive")):
        h2["connection_keepalive"] = present(
            interval=duration(alive.get("interval")), timeout=duration(alive.get("timeout")) or "20s"
        )
    keepalive = keepalive if tcp.get("tcpKeepalive") is None else tcp["tcpKeepalive"]
    if keepalive is not None:
        cluster["upstream_connection_options"] = {
            "tcp_keepalive": present(
                keepalive_probes=keepalive.get("probes"),
                keepalive_time=_whole(keepalive.get("time")),
                keepalive_interval=_whole(keepalive.get("interval")),
            )
        }


def _whole(duration: str | None) -> int | None:
    return None if duration is None else int(durations.seconds(duration))


def duration(value: str | None) -> str | None:
    return None if value is None else durations.proto(value)
