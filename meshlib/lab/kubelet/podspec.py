"""Pure readings of a pod's specification: containers by role, declared ports, proxies, quality of service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from meshlib.lab.kubelet.images import repository

Obj = dict[str, Any]

INSIDE = "lab.meshlib.dev/inside"
PORTS = "lab.meshlib.dev/ports"
INSIDE_PORTS = "lab.meshlib.dev/inside-ports"
PROXY_PORTS = (15000, 15001, 15006, 15021, 15090)  # admin, outbound, inbound, readiness, metrics
PROXY_REPOSITORY = "proxyv2"
_SUFFIXES: dict[str, int | Fraction] = {
    "": 1, "m": Fraction(1, 1000), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def containers(pod: Obj) -> list[Obj]:
    return list(pod["spec"].get("containers") or [])


def init_containers(pod: Obj) -> list[Obj]:
    return list(pod["spec"].get("initContainers") or [])


def is_sidecar(container: Obj) -> bool:
    """A native sidecar: an init container that keeps running."""
    return container.get("restartPolicy") == "Always"


def all_containers(pod: Obj) -> list[Obj]:
    return init_containers(pod) + containers(pod)


def find_container(pod: Obj, name: str) -> Obj | None:
    return next((each for each in all_containers(pod) if each["name"] == name), None)


def proxy_role(container: Obj) -> str | None:
    """`router` (a gateway) or `sidecar` for a container of Istio's proxy, by its arguments `proxy <role>
    …`.
    """
    if repository(container.get("image", "")).rpartition("/")[2] != PROXY_REPOSITORY:
        return None
    args = container.get("args") or []
    if args[:1] == ["proxy"] and len(args) > 1 and args[1] in ("router", "sidecar"):
        return str(args[1])
    return None


def roles(pod: Obj) -> set[str]:
    return {role for each in all_containers(pod) if (role := proxy_role(each))}


def declared_ports(pod: Obj) -> list[int]:
    """Every TCP port that the pod's containers declare, the proxy's own included, each once."""
    ports = {
        int(port["containerPort"]): None
        for each in all_containers(pod)
        for port in each.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    }
    if roles(pod):
        ports.update(dict.fromkeys(PROXY_PORTS))
    return list(ports)


def named_port(container: Obj, port: int | str) -> int | None:
    """The number of a port given by number or by the name that the container declares."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for each in container.get("ports") or []:
        if each.get("name") == port:
            return int(each["containerPort"])
    return None


def quantity(text: str | int | float) -> Fraction:
    """A Kubernetes quantity (`500m`, `128Mi`) as a number; raises ValueError."""
    match = re.fullmatch(r"([+-]?[0-9.]+)([A-Za-z]*)", str(text))
    if not match or match[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is no quantity")
    return Fraction(match[1]) * _SUFFIXES[match[2]]


def _resources(pod: Obj) -> Iterator[tuple[Obj, Obj]]:
    for each in all_containers(pod):
        resources = each.get("resources") or {}
        yield resources.get("requests") or {}, resources.get("limits") or {}


def qos_class(pod: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, by the rules of the Kubernetes documentation on QoS classes."""
    pairs = list(_resources(pod))
    if not any(requests or limits for requests, limits in pairs):
        return "BestEffort"
    for requests, limits in pairs:
        for name in ("cpu", "memory"):
            if name not in limits or quantity(requests.get(name) or limits[name]) != quantity(limits[name]):
                return "Burstable"
    return "Guaranteed"


def requested(pod: Obj, resource: str) -> Fraction:
    """The sum of what the pod's long-running containers request of `cpu` (cores) or `memory` (bytes)."""
    running = [*containers(pod), *(each for each in init_containers(pod) if is_sidecar(each))]
    total = Fraction(0)
    for each in running:
        total += quantity(((each.get("resources") or {}).get("requests") or {}).get(resource) or 0)
    return total
