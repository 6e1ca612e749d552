"""What an update of a Service keeps, and what it drops with its type, before anything is validated.

Pure: the new Service is changed.  A field that only another type has goes when the caller left it as it was;
one that the caller changed stays, for validation to refuse.
"""

from __future__ import annotations

from typing import Any

from .store import Obj

_EXTERNAL = ("NodePort", "LoadBalancer")


def settle(service: Obj, old: Obj) -> None:
    """Carry allocated values over from the Service before, then drop what the new type does not have."""
    spec, before = service.get("spec") or {}, old.get("spec") or {}
    _address(spec, before)
    _node_ports(spec, before)
    if _has_address(before) and not _has_address(spec):
        if _same(spec, before, "clusterIP") and _same(spec, before, "clusterIPs"):
            _drop(spec, "clusterIP", "clusterIPs")
        _drop_unchanged(spec, before, "ipFamilies", "ipFamilyPolicy")
    if _has_node_ports(before) and not _has_node_ports(spec) and _numbers(spec) <= _numbers(before):
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    if _checks_health(before) and not _checks_health(spec):
        _drop_unchanged(spec, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_unchanged(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if _outside(before) and not _outside(spec):
        _drop_unchanged(spec, before, "externalTrafficPolicy")
    if spec.get("type") != "LoadBalancer":
        service["status"] = {**(service.get("status") or {}), "loadBalancer": {}}


def _address(spec: Obj, before: Obj) -> None:
    if not (_has_address(spec) and _has_address(before)):
        return
    if not _same(spec, before, "clusterIP") and _same(spec, before, "clusterIPs"):
        _drop(spec, "clusterIPs")
        if spec.get("clusterIP"):
            spec["clusterIPs"] = [spec["clusterIP"]]
    if not spec.get("clusterIP") and not spec.get("clusterIPs") and before.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP"):
        spec["clusterIPs"] = list(before.get("clusterIPs") or [])
        if not spec["clusterIPs"]:
            del spec["clusterIPs"]


def _node_ports(spec: Obj, before: Obj) -> None:
    if not (_has_node_ports(spec) and _has_node_ports(before)):
        return
    used = _numbers(spec)
    had = {_key(port): port.get("nodePort") for port in before.get("ports") or []}
    for port in spec.get("ports") or []:
        number = had.get(_key(port))
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number
            used.add(number)
    if _checks_health(spec) and _checks_health(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort", 0)


def _key(port: Obj) -> tuple[Any, Any]:
    return port.get("protocol"), port.get("port")


def _numbers(spec: Obj) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}


def _has_address(spec: Obj) -> bool:
    return bool(spec.get("type") != "ExternalName")


def _has_node_ports(spec: Obj) -> bool:
    return spec.get("type") in _EXTERNAL


def _checks_health(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _outside(spec: Obj) -> bool:
    return _has_node_ports(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _same(spec: Obj, before: Obj, field: str) -> bool:
    return (spec.get(field) or None) == (before.get(field) or None)


def _drop_unchanged(spec: Obj, before: Obj, *fields: str) -> None:
    _drop(spec, *(field for field in fields if _same(spec, before, field)))


def _drop(spec: Obj, *fields: str) -> None:
    for field in fields:
        spec.pop(field, None)
