"""ServiceEntry, WorkloadEntry, WorkloadGroup and Sidecar."""

from __future__ import annotations

from meshlib.lab.schema.model import Obj

from . import common, traffic
from .common import HTTP_PROTOCOLS, PROTOCOLS, TCP_PROTOCOLS, TLS_PROTOCOLS, UNIX, quoted
from .gateway import unix_address
from .judgement import Judgement


def judge_service_entry(found: Judgement, namespace: str, spec: Obj) -> None:
    if not _alpha_selector(found, spec.get("workloadSelector"), "service entry"):
        return
    hosts, ports, endpoints = spec.get("hosts") or [], spec.get("ports") or [], spec.get("endpoints") or []
    resolution = spec.get("resolution", "NONE")
    if spec.get("workloadSelector") is not None and spec.get("endpoints") is not None:
        found.add("only one of WorkloadSelector or Endpoints is allowed in Service Entry")
    if not hosts:
        found.add("service entry must have at least one host")
    for host in hosts:
        found.add(f"invalid host {host}" if host == "*" else common.wildcard_domain(host))
        partial = common.partial_wildcard(host)
        if partial and resolution != "DYNAMIC_DNS":
            found.warn(partial)
    for address in spec.get("addresses") or ():
        found.add(common.subnet(address))
    if any("/" in each for each in spec.get("addresses") or ()) and resolution not in ("NONE", "STATIC"):
        found.add("CIDR addresses are allowed only for NONE/STATIC resolution types")
    names = _ports(found, ports)
    _resolution(found, spec, resolution, names)
    protocols = [port.get("protocol", "").lower() for port in ports]
    if resolution != "NONE" and len(hosts) > 1:
        if any(each not in HTTP_PROTOCOLS and each not in TLS_PROTOCOLS for each in protocols):
            found.add("multiple hosts provided with non-HTTP, non-TLS ports")
        dns = resolution in ("DNS", "DNS_ROUND_ROBIN")
        if dns and spec.get("addresses") and any(each in TCP_PROTOCOLS for each in protocols):
            found.warn(
                "service entry can not have more than one host specified simultaneously with address and "
                "tcp port"
            )
    if resolution == "NONE" and endpoints:
        found.add("no endpoints should be provided for resolution type none")
    common.export_to(found, namespace, spec.get("exportTo"), entry=True)


def _ports(found: Judgement, ports: list[Obj]) -> set[str]:
    names: set[str] = set()
    numbers: set[int] = set()
    for port in ports:
        name, number = port.get("name", ""), port.get("number", 0)
        if name in names:
            found.add(f"service entry port name {quoted(name)} already defined")
        if number in numbers:
            found.add(f"service entry port {number} already defined")
        names.add(name)
        numbers.add(number)
        if port.get("targetPort"):
            found.add(common.port(port["targetPort"]))
        found.add(_port_name(name), protocol(port.get("protocol", "")), common.port(number))
    return names


def _port_name(name: str) -> str | None:
    return None if common.is_label(name) else f"invalid port name: {name}"


def protocol(name: str) -> str | None:
    return f"unsupported protocol: {name}" if name and name.lower() not in PROTOCOLS else None


def _resolution(found: Judgement, spec: Obj, resolution: str, names: set[str]) -> None:
    hosts, endpoints = spec.get("hosts") or [], spec.get("endpoints") or []
    match resolution:
        case "NONE":
            if spec.get("workloadSelector") is not None:
                found.warn("workloadSelector should not be set when resolution mode is NONE")
        case "STATIC":
            for endpoint in endpoints:
                workload_entry(found, endpoint, names, dns=False)
        case "DNS" | "DNS_ROUND_ROBIN":
            error = next((each for each in map(common.fqdn, hosts) if each), None)
            if not endpoints and error:
                found.add(
                    "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for "
                    f"resolution mode {resolution}, {error}"
                )
            if resolution == "DNS_ROUND_ROBIN" and len(endpoints) > 1:
                found.add(f"there must only be 0 or 1 endpoint for resolution mode {resolution}")
            for endpoint in endpoints:
                workload_entry(found, endpoint, names, dns=True)
        case "DYNAMIC_DNS":
            if any(host[:1] != "*" for host in hosts):
                found.add(f"host must be wildcarded for resolution mode {resolution}")


def workload_entry(found: Judgement, entry: Obj, service_ports: set[str], *, dns: bool) -> None:
    """An endpoint: `service_ports` are the names that its ports may have, none for a WorkloadEntry of its
    own.
    """
    address, ports = entry.get("address", ""), entry.get("ports") or {}
    if address.startswith(UNIX):
        found.add(unix_address(address.removeprefix(UNIX)))
        if ports:
            found.add(f"unix endpoint {address} must not include ports")
    elif address and not common.is_ip(address):
        if not dns:
            found.add(f"endpoint address {quoted(address)} is not a valid IP address")
        elif common.fqdn(address):
            found.add(f"endpoint address {quoted(address)} is not a valid FQDN or an IP address")
    for name, number in ports.items():
        if service_ports and name not in service_ports:
            found.add(f"endpoint port {number} is not defined by the service entry")
        found.add(_port_name(name), common.port(number))
    common.labels(found, entry.get("labels"))


def judge_workload_group(found: Judgement, spec: Obj) -> None:
    if spec.get("template") is None:
        found.add("template is required")


def _alpha_selector(found: Judgement, selector: Obj | None, kind: str) -> bool:
    """Whether the selector of a Sidecar or ServiceEntry is sound; only then istiod looks further."""
    if selector is None:
        return True
    wanted = selector.get("labels") or {}
    before = len(found.errors)
    for key, value in wanted.items():
        pair = quoted(f"{key}={value}")
        if not key:
            found.add(f"empty key is not supported in selector: {pair}")
        if "*" in key or "*" in value:
            found.add(f"wildcard is not supported in selector: {pair}")
    if not wanted:
        found.warn(
            f"{kind}: workload selector specified without labels, will be applied to all services in "
            "namespace"
        )
    return len(found.errors) == before


def judge_sidecar(found: Judgement, spec: Obj) -> None:
    if not _alpha_selector(found, spec.get("workloadSelector"), "sidecar"):
        return
    ingress, egress = spec.get("ingress") or [], spec.get("egress") or []
    if (
        not ingress
        and not egress
        and not spec.get("outboundTrafficPolicy")
        and not spec.get("inboundConnectionPool")
    ):
        found.add("sidecar: empty configuration provided")
        return
    numbers: set[int] = set()
    for listener in ingress:
        port = listener.get("port")
        if port is None:
            found.add("sidecar: port is required for ingress listeners")
            continue
        _sidecar_port(found, port, listener.get("bind") or "")
        if port.get("number", 0) in numbers:
            found.add("sidecar: ports on IP bound listeners must be unique")
        numbers.add(port.get("number", 0))
        traffic.connection_pool(found, listener.get("connectionPool"))
    for index, listener in enumerate(egress):
        port, bind = listener.get("port"), listener.get("bind") or ""
        if port is None and index < len(egress) - 1:
            found.add("sidecar: the egress listener with empty port should be the last listener in the list")
        elif port is not None and not bind.startswith(UNIX):
            _sidecar_port(found, port, bind)
        if not listener.get("hosts"):
            found.add("sidecar: egress listener must contain at least one host")
        for host in listener.get("hosts") or ():
            found.add(*common.slash_host(host, gateway=False))


def _sidecar_port(found: Judgement, port: Obj, bind: str) -> None:
    if port.get("targetPort", 0) > 0:
        found.add("targetPort has no impact on Sidecars")
    if port.get("name"):
        found.add(_port_name(port["name"]))
    found.add(protocol(port.get("protocol", "")), common.port(port.get("number", 0)))
    if bind:
        found.add(common.ip_address(bind))
