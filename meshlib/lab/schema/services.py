"""What the API server checks in a Service, and which of its addresses may not change."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from . import findings as say
from . import names
from .model import Finding, Obj

_PORT_FIELDS = ("name", "port", "protocol", "targetPort", "appProtocol", "nodePort")


def port_order(found: list[Finding]) -> list[Finding]:
    """Findings in the server's order: port by port, and field by field in each."""

    def place(finding: Finding) -> tuple[int, int]:
        named = re.fullmatch(r"spec\.ports\[(\d+)\]\.(\w+)", finding.field)
        if named is None or named[2] not in _PORT_FIELDS:
            return -1, 0
        return int(named[1]), _PORT_FIELDS.index(named[2])

    ports = iter(sorted((each for each in found if place(each)[0] >= 0), key=place))
    return [next(ports) if place(each)[0] >= 0 else each for each in found]


def validate_service(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    if spec.get("type") != "LoadBalancer" and ((obj.get("status") or {}).get("loadBalancer") or {}).get(
        "ingress"
    ):
        detail = "may only be used when `spec.type` is 'LoadBalancer'"
        yield say.forbidden("status.loadBalancer.ingress", detail)
    yield from _families(spec)
    kind, ports = spec.get("type"), spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if old is not None:
        yield from _addresses_change(spec, old.get("spec") or {})
    if not ports and not headless and kind != "ExternalName":
        yield say.required("spec.ports")
    if headless and kind in ("LoadBalancer", "NodePort"):
        yield say.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(spec)
    elif (spec.get("clusterIP") or "None") != "None":
        yield from _ip(spec["clusterIP"], "spec.clusterIPs[0]")
    for index, ip in enumerate(spec.get("externalIPs") or ()):
        yield from _ip(ip, f"spec.externalIPs[{index}]")
    seen_ports: set[Any] = set()
    seen_node_ports: set[Any] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            yield say.required(f"{at}.name")
        if kind == "ClusterIP" and port.get("nodePort"):
            yield say.forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'")
        key = (port.get("protocol"), port.get("port"))
        if key in seen_ports:
            whole = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            yield say.duplicate(at, whole)
        seen_ports.add(key)
        node_key = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort") and node_key in seen_node_ports:
            yield say.duplicate(f"{at}.nodePort", port["nodePort"])
        seen_node_ports.add(node_key)
    yield from _load_balancer(spec)


def _addresses_change(spec: Obj, before: Obj) -> Iterator[Finding]:
    was = before.get("clusterIPs") or ([before["clusterIP"]] if before.get("clusterIP") else [])
    now = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    if "ExternalName" in (spec.get("type"), before.get("type")) or not was:
        return
    if not now or now[0] != was[0]:
        yield say.invalid("spec.clusterIPs[0]", now, "may not change once set")


def _families(spec: Obj) -> Iterator[Finding]:
    """The lab has one family of addresses, IPv4."""
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in ("IPv4", "IPv6"):
            yield say.not_supported(f"spec.ipFamilies[{index}]", family, ["IPv4", "IPv6"])
        elif family != "IPv4":
            yield say.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        yield say.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], detail)


def _external_name(spec: Obj) -> Iterator[Finding]:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            yield say.forbidden(f"spec.{field}", "may not be set for ExternalName services")
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        yield say.required("spec.externalName")
    else:
        yield from (say.invalid("spec.externalName", name, each) for each in names.dns_subdomain(name))


def _ip(text: str, path: str) -> Iterator[Finding]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        yield say.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _load_balancer(spec: Obj) -> Iterator[Finding]:
    kind = spec.get("type")
    if spec.get("allocateLoadBalancerNodePorts") is not None and kind != "LoadBalancer":
        yield say.forbidden(
            "spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'"
        )
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        try:
            ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            at = f"spec.LoadBalancerSourceRanges[{index}]"
            yield say.invalid(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
    if spec.get("loadBalancerSourceRanges") and kind != "LoadBalancer":
        yield say.forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
    if spec.get("loadBalancerClass") is not None and kind != "LoadBalancer":
        yield say.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
    policy = spec.get("externalTrafficPolicy")
    outside = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    if policy and not outside:
        detail = "may only be set for externally-accessible services"
        yield say.invalid("spec.externalTrafficPolicy", policy, detail)
    elif policy and policy not in ("Cluster", "Local"):
        yield say.not_supported("spec.externalTrafficPolicy", policy, ["Cluster", "Local"])
    timeout_s = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if spec.get("sessionAffinity") == "ClientIP" and timeout_s is not None and not 0 < timeout_s <= 86_400:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield say.invalid(path, timeout_s, "must be greater than 0 and less than 86400")
