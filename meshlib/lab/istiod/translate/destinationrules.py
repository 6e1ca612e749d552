"""Which DestinationRule holds for a service as seen from a namespace, and what its policies say.

Source: istio/istio pilot/pkg/model/destination_rule.go and push_context.go (lookup order, merging);
istio-facts D.  A `workloadSelector` narrows a rule to the proxies that carry its labels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlib.lab.istiod.translate import hosts
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Proxy
from meshlib.lab.istiod.translate.services import Port, Service
from meshlib.lab.istiod.translate.world import World

_BLOCKS = ("connectionPool", "outlierDetection", "loadBalancer", "tls")


@dataclass
class _Rules:
    """The merged rules of one namespace by host."""

    exact: dict[str, list[Obj]]
    wildcard: dict[str, list[Obj]]

    def add(self, host: str, rule: Obj) -> None:
        rules = (self.wildcard if hosts.is_wildcard(host) else self.exact).setdefault(host, [])
        for kept in rules:
            if _selector(kept) == _selector(rule) and _exports(kept) == _exports(rule):
                _merge(kept, rule)
                return
        rules.append(copy.deepcopy(rule))

    def find(self, host: str) -> list[Obj]:
        if host in self.exact:
            return self.exact[host]
        covering = [name for name in self.wildcard if hosts.subset_of(host, name)]
        return self.wildcard[min(covering, key=hosts.specificity)] if covering else []


def _selector(rule: Obj) -> dict[str, str]:
    return (rule["spec"].get("workloadSelector") or {}).get("matchLabels") or {}


def _exports(rule: Obj) -> frozenset[str]:
    if rule["spec"].get("workloadSelector"):
        return frozenset({"."})
    return frozenset(rule["spec"].get("exportTo") or ())


def _merge(kept: Obj, rule: Obj) -> None:
    """Adds the subsets that are new, and the traffic policy where there was none: the oldest rule wins."""
    spec, more = kept["spec"], rule["spec"]
    names = {subset["name"] for subset in spec.get("subsets", [])}
    fresh = [copy.deepcopy(subset) for subset in more.get("subsets", []) if subset["name"] not in names]
    if fresh:
        spec["subsets"] = [*spec.get("subsets", []), *fresh]
    if "trafficPolicy" not in spec and "trafficPolicy" in more:
        spec["trafficPolicy"] = copy.deepcopy(more["trafficPolicy"])


def _index(world: World) -> tuple[dict[str, _Rules], dict[str, _Rules]]:
    """The rules that a namespace's own proxies look at, and those that it shows to others."""

    def build() -> tuple[dict[str, _Rules], dict[str, _Rules]]:
        local: dict[str, _Rules] = {}
        exported: dict[str, _Rules] = {}
        private_by_default = "." in mesh_config(world).export_destination_rules
        # Rules with a selector come first, as they are the more specific.
        rules = sorted(world.all("DestinationRule"), key=lambda rule: not _selector(rule))
        for rule in rules:
            namespace = rule["metadata"]["namespace"]
            host = hosts.fqdn(rule["spec"]["host"], namespace, world.domain)
            exports = _exports(rule)
            if not exports or exports & {"*", ".", namespace}:
                local.setdefault(namespace, _Rules({}, {})).add(host, rule)
            own = exports in (frozenset({"."}), frozenset({namespace}))
            private = own or (not exports and private_by_default)
            if not private:
                exported.setdefault(namespace, _Rules({}, {})).add(host, rule)
        return local, exported

    return world.memo("destination rules", ("DestinationRule", "ConfigMap"), build)


def rule_for(world: World, proxy: Proxy, service: Service) -> Obj | None:
    """The rule for a service: from the proxy's namespace, else the service's, else the root namespace."""
    local, exported = _index(world)
    if proxy.namespace != world.root_namespace and proxy.namespace in local:
        if rule := _choose(local[proxy.namespace].find(service.hostname), proxy):
            return rule
    elif proxy.namespace in local:
        private = [
            rule for rule in local[proxy.namespace].find(service.hostname) if "*" not in _exports(rule)
        ]
        if rule := _choose([rule for rule in private if _exports(rule)], proxy):
            return rule
    for namespace in (service.namespace, world.root_namespace):
        if namespace in exported:
            shown = [
                rule for rule in exported[namespace].find(service.hostname) if _shown(rule, proxy.namespace)
            ]
            if rule := _choose(shown, proxy):
                return rule
    return None


def _shown(rule: Obj, namespace: str) -> bool:
    exports = _exports(rule)
    own = rule["metadata"]["namespace"] == namespace
    return not exports or "*" in exports or namespace in exports or (own and "." in exports)


def _choose(rules: list[Obj], proxy: Proxy) -> Obj | None:
    for rule in rules:
        if all(proxy.labels.get(key) == value for key, value in _selector(rule).items()):
            return rule
    return None


def policy(rule: Obj | None, port: Port, subset: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The traffic policy for a port: port level settings replace a level's blocks, a subset's blocks its
    rule's.
    """
    merged = _level((rule or {}).get("spec", {}).get("trafficPolicy"), port)
    if subset:
        own = subset.get("trafficPolicy") or {}
        whole = any(_is_port(setting, port) for setting in own.get("portLevelSettings", []))
        level = _level(own, port)
        merged = level if whole else {**merged, **level}
    return merged


def _level(traffic: Mapping[str, Any] | None, port: Port) -> dict[str, Any]:
    traffic = traffic or {}
    chosen: Mapping[str, Any] = traffic
    for setting in traffic.get("portLevelSettings", []):
        if _is_port(setting, port):
            chosen = setting
            break
    found = {name: chosen[name] for name in _BLOCKS if chosen.get(name) is not None}
    for name in ("proxyProtocol", "retryBudget", "tunnel"):
        if traffic.get(name) is not None:
            found[name] = traffic[name]
    return found


def _is_port(setting: Mapping[str, Any], port: Port) -> bool:
    return bool((setting.get("port") or {}).get("number") == port.number)


def consistent_hash(rule: Obj | None, port: int | None, subset: str) -> Mapping[str, Any] | None:
    """The consistent hash for a destination: the subset's port, the subset, the rule's port, the rule."""
    if rule is None:
        return None
    traffic = rule["spec"].get("trafficPolicy") or {}
    own: Mapping[str, Any] = {}
    for item in rule["spec"].get("subsets", []):
        if subset and item["name"] == subset:
            own = item.get("trafficPolicy") or {}
    for level, at_port in ((own, True), (own, False), (traffic, True), (traffic, False)):
        settings = [level]
        if at_port:
            settings = [
                s for s in level.get("portLevelSettings", []) if (s.get("port") or {}).get("number") == port
            ]
        for setting in settings:
            if found := (setting.get("loadBalancer") or {}).get("consistentHash"):
                return dict(found)
    return None
