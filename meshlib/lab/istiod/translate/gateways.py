"""All Gateways that select a proxy, merged into the servers of its ports.

Source: istio/istio pilot/pkg/model/gateway.go (mergeGateways, resolvePorts); istio-facts C1, D.
The order is by age, so that of two servers in conflict the older stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.istiod.translate import names, services
from meshlib.lab.istiod.translate.model import PORTS, Obj, Problem, Proxy, describe
from meshlib.lab.istiod.translate.services import HTTP, Port, Service
from meshlib.lab.istiod.translate.world import World

PASSES = ("PASSTHROUGH", "AUTO_PASSTHROUGH")


@dataclass(frozen=True, eq=False)
class Server:
    """One server of a Gateway, resolved to the port that the proxy listens on.

    gateway: `<namespace>/<name>`; hosts keep their `ns/`, `.` resolved and `*/` dropped; port: the
    Gateway's
    number
    route: the name of its route configuration, empty if it has none (TCP, passthrough)
    """

    spec: Mapping[str, Any]
    gateway: str
    hosts: tuple[str, ...]
    port: int
    listen: int
    protocol: str
    route: str

    @property
    def tls(self) -> Mapping[str, Any] | None:
        found = self.spec.get("tls")
        return found if isinstance(found, Mapping) else None

    @property
    def ends_tls(self) -> bool:
        return (
            _encrypted(self.protocol)
            and self.tls is not None
            and self.tls.get("mode", "PASSTHROUGH") not in PASSES
        )

    @property
    def is_http(self) -> bool:
        return self.protocol in HTTP or (self.protocol == "HTTPS" and self.ends_tls)

    @property
    def sni(self) -> list[str]:
        return sorted({host.rpartition("/")[2] for host in self.hosts})


@dataclass
class Listen:
    """What one port of a proxy serves: either plain servers of one kind, or TLS servers told apart by
    SNI.
    """

    port: int
    plain: bool = True
    servers: list[Server] = field(default_factory=list)


@dataclass
class Merged:
    """The ports by number, the servers of each route configuration, and what was left out."""

    ports: dict[int, Listen] = field(default_factory=dict)
    routes: dict[str, list[Server]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def _encrypted(protocol: str) -> bool:
    return protocol in ("HTTPS", "TLS")


def services_of(world: World, proxy: Proxy) -> list[Service]:
    """The Services that select the proxy's pod, oldest first."""
    return [
        service
        for service in services.services(world)
        if not service.entry
        and service.namespace == proxy.namespace
        and service.selector
        and all(proxy.labels.get(key) == value for key, value in service.selector.items())
    ]


def target_of(port: Port, proxy: Proxy) -> int:
    """The pod's port behind a Service's port; a name is one of the pod's."""
    if isinstance(port.target, int):
        return port.target
    return proxy.named_ports.get(port.target, port.number)


def resolve_port(number: int, selecting: list[Service], proxy: Proxy) -> int:
    """The port to listen on for a Gateway's port: the target of a Service's port of that number, else
    itself.
    """
    for service in selecting:
        port = service.port(number)
        if port is not None:
            return target_of(port, proxy)
    return number


def _hosts(given: list[str], namespace: str) -> tuple[str, ...]:
    found = []
    for host in given:
        scope, slash, name = host.partition("/")
        if not slash:
            found.append(host)
        elif scope == "*":
            found.append(name)
        else:
            found.append(f"{namespace if scope == '.' else scope}/{name}")
    return tuple(found)


def _server(spec: Mapping[str, Any], obj: Obj, selecting: list[Service], proxy: Proxy) -> Server:
    meta, port = obj["metadata"], spec["port"]
    number, protocol = port["number"], str(port.get("protocol", "")).upper()
    listen = resolve_port(number, selecting, proxy)
    mode = (spec.get("tls") or {}).get("mode", "PASSTHROUGH")
    route = ""
    if protocol in HTTP:
        route = names.http_route(listen)
    elif protocol == "HTTPS" and spec.get("tls") is not None and mode not in PASSES:
        route = names.https_route(number, port.get("name", ""), meta["name"], meta["namespace"])
    return Server(
        spec=spec,
        gateway=f"{meta['namespace']}/{meta['name']}",
        hosts=_hosts(spec.get("hosts") or [], meta["namespace"]),
        port=number,
        listen=listen,
        protocol=protocol,
        route=route,
    )


def selects(obj: Obj, proxy: Proxy) -> bool:
    """Whether a Gateway is for a proxy: labels in any namespace; without a selector, every gateway."""
    selector = obj["spec"].get("selector") or {}
    return all(proxy.labels.get(key) == value for key, value in selector.items())


def merge(world: World, proxy: Proxy) -> Merged:
    """The servers of a proxy by port."""
    merged = Merged()
    selecting = services_of(world, proxy)
    hosts_by_port: dict[int, set[str]] = {}
    for obj in world.all("Gateway"):
        if not selects(obj, proxy):
            continue
        for spec in obj["spec"].get("servers") or []:
            if not spec.get("port"):
                merged.problems.append(Problem(describe(obj), "a server has no port"))
                continue
            if reason := _add(merged, _server(spec, obj, selecting, proxy), hosts_by_port):
                merged.problems.append(Problem(describe(obj), reason))
    return merged


def _add(merged: Merged, server: Server, hosts_by_port: dict[int, set[str]]) -> str:
    """Adds a server; the reason where it is in conflict with an older one and is left out."""
    where = f"server {server.spec['port'].get('name', '')!r} on port {server.port}"
    if server.spec.get("bind"):
        return f"{where} is left out: bind is not supported, the embedded lab chooses its addresses"
    if server.tls is not None:
        known = hosts_by_port.setdefault(server.listen, set())
        taken = [host for host in server.hosts if host in known]
        if taken:
            return f"{where} is left out: an older server has the host {', '.join(taken)} on that port"
        known.update(server.hosts)
    listen = merged.ports.get(server.listen)
    plain = not _encrypted(server.protocol)
    if listen is None:
        merged.ports[server.listen] = Listen(server.listen, plain, [server])
        if server.route:
            merged.routes.setdefault(server.route, []).append(server)
        return ""
    if listen.plain != plain:
        return f"{where} is left out: plain text and TLS cannot share the port"
    if plain:
        if server.protocol not in HTTP or listen.servers[0].protocol not in HTTP:
            return f"{where} is left out: an older server has the port for {listen.servers[0].protocol}"
    elif server.route and server.route in merged.routes:
        return f"{where} is left out: its port name is not unique"
    listen.servers.append(server)
    if server.route:
        merged.routes.setdefault(server.route, []).append(server)
    return ""


def addresses(world: World, proxy: Proxy, listen: Listen) -> list[tuple[str, int]]:
    """Every socket address of a port: the pod's own first, then those under which Services offer it."""
    found = [(proxy.address, proxy.true_port(listen.port))]
    for service in services_of(world, proxy):
        obj = world.get("Service", service.namespace, service.name) or {}
        given = json.loads(obj.get("metadata", {}).get("annotations", {}).get(PORTS) or "{}")
        balancer = (obj.get("status") or {}).get("loadBalancer") or {}
        virtual = [service.cluster_ip] if service.cluster_ip not in ("", "None") else []
        virtual += [item["ip"] for item in balancer.get("ingress") or [] if item.get("ip")]
        for port in service.ports:
            if target_of(port, proxy) != listen.port or port.protocol == "UDP":
                continue
            number = given.get(str(port.number), port.number)
            if str(port.number) in given or world.bindable(number):
                found += [(ip, number) for ip in virtual]
            if port.node_port and proxy.node:
                found.append((proxy.node, port.node_port))
    return list(dict.fromkeys(found))


def bound_ports(world: World, proxy: Proxy, merged: Merged) -> dict[int, tuple[int, ...]]:
    """The port of every listener → the numbers under which it is bound."""
    return {
        listen.port: tuple(dict.fromkeys(number for _, number in addresses(world, proxy, listen)))
        for listen in merged.ports.values()
    }
