"""How a cluster chooses among its endpoints, and when it leaves one out.

Source: istio/istio pilot/pkg/networking/core/cluster_traffic_policy.go; istio-facts C6, D.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.translate import durations
from meshlib.lab.istiod.translate.model import Obj, present

_SIMPLE = {
    "RANDOM": "RANDOM",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "UNSPECIFIED": "LEAST_REQUEST",
}


def apply_load_balancer(cluster: Obj, settings: Mapping[str, Any]) -> None:
    """Sets `lb_policy` and its options; LEAST_REQUEST where nothing is said."""
    chosen = _SIMPLE.get(settings.get("simple", "UNSPECIFIED"), "LEAST_REQUEST")
    cluster["lb_policy"] = chosen
    if slow := _slow_start(settings):
        if chosen == "ROUND_ROBIN":
            cluster["round_robin_lb_config"] = {"slow_start_config": slow}
        elif chosen == "LEAST_REQUEST":
            cluster["least_request_lb_config"] = {"slow_start_config": slow}
    if (hashed := settings.get("consistentHash")) is not None:
        for name in ("round_robin_lb_config", "least_request_lb_config"):
            cluster.pop(name, None)
        _apply_hash(cluster, hashed)


def _apply_hash(cluster: Obj, hashed: Mapping[str, Any]) -> None:
    if (maglev := hashed.get("maglev")) is not None:
        cluster["lb_policy"] = "MAGLEV"
        if maglev.get("tableSize"):
            cluster["maglev_lb_config"] = {"table_size": int(maglev["tableSize"])}
        return
    cluster["lb_policy"] = "RING_HASH"
    if (ring := hashed.get("ringHash")) is not None:
        if ring.get("minimumRingSize"):
            cluster["ring_hash_lb_config"] = {"minimum_ring_size": int(ring["minimumRingSize"])}
        return
    cluster["ring_hash_lb_config"] = {"minimum_ring_size": int(hashed.get("minimumRingSize") or 1024)}


def _slow_start(settings: Mapping[str, Any]) -> Obj | None:
    if warmup := settings.get("warmup"):
        return {
            "slow_start_window": durations.proto(warmup["duration"]),
            "aggression": {"default_value": warmup.get("aggression", 1.0), "runtime_key": "("},
            "min_weight_percent": {"value": warmup.get("minimumPercent", 10.0)},
        }
    if seconds := settings.get("warmupDurationSecs"):
        return {"slow_start_window": durations.proto(seconds)}
    return None


def apply_outlier_detection(cluster: Obj, settings: Mapping[str, Any] | None) -> None:
    """Sets `outlier_detection`; counts that are not given stay Envoy's (5 consecutive errors, 10 s, 30
    s, 10
    %).
    """
    if settings is None:
        return
    found: Obj = {"enforcing_success_rate": 0}
    pairs = (
        ("consecutive5xxErrors", "consecutive_5xx", "enforcing_consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
    )
    for name, count, enforcing in pairs:
        value = settings.get(name)
        if value is not None:
            found[count] = value
            found[enforcing] = 100 if value > 0 else 0
    found |= present(
        interval=_duration(settings.get("interval")),
        base_ejection_time=_duration(settings.get("baseEjectionTime")),
        max_ejection_percent=settings.get("maxEjectionPercent") or None,
    )
    if settings.get("splitExternalLocalOriginErrors"):
        found["split_external_local_origin_errors"] = True
        found["enforcing_local_origin_success_rate"] = 0
        if local := settings.get("consecutiveLocalOriginFailures"):
            found["consecutive_local_origin_failure"] = local
            found["enforcing_consecutive_local_origin_failure"] = 100
    cluster["outlier_detection"] = found
    cluster["common_lb_config"]["healthy_panic_threshold"] = {
        "value": float(settings.get("minHealthPercent") or 0)
    }


def error_matcher(codes: list[int]) -> Obj:
    """The answers that count as errors: these statuses instead of 5xx."""
    rules = [
        {
            "http_response_headers_match": {
                "headers": [{"name": ":status", "string_match": {"exact": str(code)}}]
            }
        }
        for code in codes
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _duration(value: str | None) -> str | None:
    return None if value is None else durations.proto(value)
