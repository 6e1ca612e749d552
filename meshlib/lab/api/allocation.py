"""Cluster addresses and node ports of Services, as the real server's allocators hand them out."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from .errors import StatusError, internal, invalid
from .store import Obj

NODE_PORTS = range(30000, 32768)


@dataclass(slots=True)
class Allocator:
    """Where Services get addresses and ports from; what is taken is read from the Services themselves.

    `network` is the range of ClusterIPs; `usable` says whether a node port may be given out (a port of
    this machine may be in use by something else).
    """

    network: IPv4Network = field(default_factory=lambda: IPv4Network("127.96.128.0/17"))
    node_ports: range = NODE_PORTS

    def complete(self, service: Obj, old: Obj | None, others: Iterable[Obj]) -> None:
        """Give the Service what its type needs and keep what it has; raises StatusError 422."""
        spec = service["spec"]
        kind = spec.get("type", "ClusterIP")
        before = (old or {}).get("spec", {})
        if kind == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                if spec.get(key) == before.get(key):
                    spec.pop(key, None)
            return
        others = list(others)
        self._address(service, before, others)
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if kind in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
            self._ports(service, before, others)
        elif kind == "ClusterIP":
            for port in spec.get("ports") or []:
                was = _same_port(port, before.get("ports") or [])
                if was and was.get("nodePort") == port.get("nodePort"):
                    port.pop("nodePort", None)

    def _address(self, service: Obj, before: Obj, others: list[Obj]) -> None:
        spec = service["spec"]
        if not spec.get("clusterIP") and not spec.get("clusterIPs") and before.get("clusterIP"):
            spec["clusterIP"], spec["clusterIPs"] = before["clusterIP"], list(before["clusterIPs"])
        asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or []), "")
        if asked == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        taken = {each["spec"].get("clusterIP") for each in others}
        if asked and asked == before.get("clusterIP"):
            return
        if asked:
            self._check_address(service, asked, taken)
        else:
            asked = self._free_address(taken)
        spec["clusterIP"] = asked
        spec["clusterIPs"] = [asked]

    def _check_address(self, service: Obj, asked: str, taken: set[str | None]) -> None:
        try:
            inside = IPv4Address(asked) in self.network
        except ValueError:
            return  # validation says what is wrong with it
        if not inside:
            why = (
                f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. "
                f"The range of valid IPs is {self.network}"
            )
        elif asked in taken:
            why = f"failed to allocate IP {asked}: provided IP is already allocated"
        else:
            return
        shown = f'Invalid value: ["{asked}"]: {why}'
        raise _invalid(service, "spec.clusterIPs", shown)

    def _free_address(self, taken: set[str | None]) -> str:
        first, size = int(self.network.network_address), self.network.num_addresses
        for _ in range(64):
            drawn = str(IPv4Address(first + random.randrange(2, size - 1)))
            if drawn not in taken:
                return drawn
        for each in self.network.hosts():
            if str(each) not in taken:
                return str(each)
        raise internal("failed to allocate a serviceIP: range is full")

    def _ports(self, service: Obj, before: Obj, others: list[Obj]) -> None:
        taken = {port.get("nodePort") for each in others for port in each["spec"].get("ports") or []}
        taken |= {each["spec"].get("healthCheckNodePort") for each in others}
        spec = service["spec"]
        for index, port in enumerate(spec.get("ports") or []):
            was = _same_port(port, before.get("ports") or [])
            if not port.get("nodePort") and was and was.get("nodePort"):
                port["nodePort"] = was["nodePort"]
            elif port.get("nodePort") and not (was and was.get("nodePort") == port["nodePort"]):
                self._check_port(service, f"spec.ports[{index}].nodePort", port["nodePort"], taken)
            elif not port.get("nodePort"):
                port["nodePort"] = self._free_port(taken)
            taken.add(port["nodePort"])
        if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
            kept = spec.get("healthCheckNodePort") or before.get("healthCheckNodePort")
            spec["healthCheckNodePort"] = kept or self._free_port(taken)

    def _check_port(self, service: Obj, where: str, port: int, taken: set[int | None]) -> None:
        if port in taken:
            raise _invalid(service, where, f"Invalid value: {port}: provided port is already allocated")
        if port not in self.node_ports:
            why = f"provided port is not in the valid range. The range of valid ports is {self._shown()}"
            raise _invalid(service, where, f"Invalid value: {port}: {why}")

    def _shown(self) -> str:
        return f"{self.node_ports.start}-{self.node_ports.stop - 1}"

    def _free_port(self, taken: set[int | None]) -> int:
        free = [port for port in self.node_ports if port not in taken]
        if not free:
            raise internal("failed to allocate a nodePort: range is full")
        return random.choice(free)


def _same_port(port: Obj, among: Iterable[Obj]) -> Obj | None:
    key = (port.get("protocol"), port.get("port"))
    return next((each for each in among if (each.get("protocol"), each.get("port")) == key), None)


def _invalid(service: Obj, field_: str, message: str) -> StatusError:
    return invalid("", "Service", service["metadata"]["name"], [(field_, "FieldValueInvalid", message)])
