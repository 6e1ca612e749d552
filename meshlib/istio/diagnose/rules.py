"""The table of rules, ordered so that a cause comes before its consequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meshlib.istio.diagnose import (
    access_rules,
    gateway_rules,
    injection_rules,
    mesh_rules,
    platform_rules,
    route_rules,
    upstream_rules,
)
from meshlib.istio.diagnose.model import INFO, LEVELS, Finding, Snapshot


@dataclass(frozen=True)
class Rule:
    """A function over a snapshot, and the kinds without which its answer would be a guess."""

    find: Callable[[Snapshot], Iterator[Finding]]
    needs: tuple[str, ...]


RULES: tuple[Rule, ...] = (
    Rule(injection_rules.control_plane, ("Namespace", "MutatingWebhookConfiguration", "EndpointSlice")),
    Rule(mesh_rules.mesh_edit, ("ConfigMap",)),
    Rule(mesh_rules.traces, ("ConfigMap", "Telemetry", "Service", "EndpointSlice")),
    Rule(route_rules.no_route, ("VirtualService", "Gateway", "Pod")),
    Rule(route_rules.asked_request, ("VirtualService", "Gateway")),
    Rule(gateway_rules.not_served, ("Gateway", "Pod")),
    Rule(gateway_rules.refused_by_clients, ("Gateway", "Pod")),
    Rule(platform_rules.pending, ("Service", "Pod")),
    Rule(injection_rules.sidecars, ("Namespace", "Pod", "VirtualService", "Service")),
    Rule(
        upstream_rules.dead_ends,
        (
            "VirtualService",
            "Service",
            "ServiceEntry",
            "DestinationRule",
            "PeerAuthentication",
            "Pod",
            "EndpointSlice",
        ),
    ),
    Rule(gateway_rules.not_programmed, ("Gateway", "Pod", "Service")),
    Rule(route_rules.unrouted, ("VirtualService", "Gateway", "Pod")),
    Rule(gateway_rules.refused_by_proxy, ()),
    Rule(access_rules.refused, ("AuthorizationPolicy", "VirtualService", "Gateway", "Service", "Pod")),
    Rule(access_rules.tokens_not_demanded, ("RequestAuthentication", "AuthorizationPolicy", "Pod")),
    Rule(mesh_rules.stale_start, ("ConfigMap", "Telemetry", "Pod")),
    Rule(platform_rules.unused_selectors, ("Pod",)),
    Rule(platform_rules.unnamed_ports, ("Namespace", "Service")),
    Rule(platform_rules.versions, ("Pod",)),
    Rule(platform_rules.base_path, ("Pod", "ConfigMap")),
)


def findings(snapshot: Snapshot) -> list[Finding]:
    """Everything that is wrong, errors first, the likeliest cause first; empty when nothing is."""
    found: list[Finding] = []
    for rule in RULES:
        if not set(rule.needs) & snapshot.unread.keys():
            found += rule.find(snapshot)
    found = list(dict.fromkeys(found))
    found.sort(key=lambda each: LEVELS.index(each.level))
    return [*found, *_unread(snapshot)]


def _unread(snapshot: Snapshot) -> Iterator[Finding]:
    for kind, reason in snapshot.unread.items():
        yield Finding(
            11,
            INFO,
            f"{kind} objects could not be read",
            reason,
            "what depends on them was not judged",
            f"kubectl auth can-i list {kind.lower()} -A",
        )
