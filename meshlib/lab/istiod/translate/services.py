"""The hosts that traffic can be sent to: Services of the cluster and ServiceEntries, as one kind of
value.

Source: istio/istio pkg/config/kube/conversion.go (protocols), pilot/pkg/serviceregistry; istio-facts C6,
D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj
from meshlib.lab.istiod.translate.world import World

HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
HTTP2 = frozenset({"HTTP2", "GRPC", "GRPC-WEB"})
AUTO = ""
_KNOWN = {
    "http": "HTTP",
    "http2": "HTTP2",
    "grpc": "GRPC",
    "grpc-web": "GRPC-WEB",
    "https": "HTTPS",
    "tls": "TLS",
    "tcp": "TCP",
    "udp": "UDP",
    "mongo": "MONGO",
    "redis": "REDIS",
    "mysql": "MYSQL",
}
_STANDARD = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}
#: Ports where the server speaks first, so that sniffing would wait for ever.
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})


@dataclass(frozen=True)
class Port:
    """A port of a service; protocol is one of the upper-case names, "" where it is to be sniffed."""

    number: int
    name: str
    protocol: str
    target: int | str
    node_port: int = 0

    @property
    def is_http(self) -> bool:
        return self.protocol in HTTP

    @property
    def is_http2(self) -> bool:
        return self.protocol in HTTP2

    @property
    def may_be_http(self) -> bool:
        return self.protocol in HTTP or self.protocol == AUTO


@dataclass(frozen=True)
class Service:
    """One host name with its ports.

    resolution: EDS (endpoints are known), DNS (the name, or `addresses`, is resolved), ANY (whatever the
    client named)
    external: the host is outside the mesh: no automatic mutual TLS
    round_robin: of the addresses of a name only the first of each answer is used
    addresses: for a ServiceEntry, its own endpoints as given; virtual: the addresses that stand for it
    """

    hostname: str
    namespace: str
    name: str
    ports: tuple[Port, ...]
    created: str
    resolution: str = "EDS"
    external: bool = False
    entry: bool = False
    selector: Mapping[str, str] = field(default_factory=dict)
    cluster_ip: str = ""
    export_to: frozenset[str] = frozenset({"*"})
    addresses: tuple[Mapping[str, Any], ...] = ()
    accounts: tuple[str, ...] = ()
    virtual: tuple[str, ...] = ()
    round_robin: bool = False

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)

    def visible_in(self, namespace: str) -> bool:
        if "*" in self.export_to:
            return True
        return namespace in self.export_to or ("." in self.export_to and namespace == self.namespace)


def protocol_of(number: int, name: str, transport: str = "TCP", app_protocol: str | None = None) -> str:
    """The protocol of a Service's port by appProtocol, else by the prefix of its name; "" means: sniff
    it.
    """
    if transport == "UDP":
        return "UDP"
    text = app_protocol if app_protocol is not None else name
    if app_protocol is not None and app_protocol in _STANDARD:
        return _STANDARD[app_protocol]
    text = text.lower()
    if text.startswith("grpc-web"):
        return "GRPC-WEB"
    known = _KNOWN.get(text.partition("-")[0], AUTO)
    return "TCP" if known == AUTO and number in _SERVER_FIRST else known


def export_set(values: list[str] | None, default: tuple[str, ...]) -> frozenset[str]:
    return frozenset(values or default or ("*",))


def _of_cluster(obj: Obj, domain: str, default: tuple[str, ...]) -> Service:
    meta, spec = obj["metadata"], obj.get("spec", {})
    exported = meta.get("annotations", {}).get("networking.istio.io/exportTo", "")
    ports = tuple(
        Port(
            number=port["port"],
            name=port.get("name", ""),
            protocol=protocol_of(
                port["port"], port.get("name", ""), port.get("protocol", "TCP"), port.get("appProtocol")
            ),
            target=port.get("targetPort", port["port"]),
            node_port=port.get("nodePort", 0),
        )
        for port in spec.get("ports", [])
    )
    external_name = spec.get("externalName", "") if spec.get("type") == "ExternalName" else ""
    return Service(
        hostname=f"{meta['name']}.{meta['namespace']}.svc.{domain}",
        namespace=meta["namespace"],
        name=meta["name"],
        ports=ports,
        created=meta.get("creationTimestamp") or "",
        resolution="DNS" if external_name else "EDS",
        external=bool(external_name),
        selector=spec.get("selector") or {},
        cluster_ip=spec.get("clusterIP", ""),
        export_to=export_set([part.strip() for part in exported.split(",") if part.strip()], default),
        addresses=({"address": external_name},) if external_name else (),
    )


def _of_entry(obj: Obj, default: tuple[str, ...]) -> list[Service]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    resolution = {"STATIC": "EDS", "DNS": "DNS", "DNS_ROUND_ROBIN": "DNS"}.get(
        spec.get("resolution", "NONE"), "ANY"
    )
    ports = tuple(
        Port(
            number=port["number"],
            name=port.get("name", ""),
            protocol=protocol_of(port["number"], port.get("protocol", "") or port.get("name", "")),
            target=port.get("targetPort") or port["number"],
        )
        for port in spec.get("ports", [])
    )
    return [
        Service(
            hostname=hostname,
            namespace=meta["namespace"],
            name=meta["name"],
            ports=ports,
            created=meta.get("creationTimestamp") or "",
            resolution=resolution,
            external=spec.get("location", "MESH_EXTERNAL") == "MESH_EXTERNAL",
            entry=True,
            selector=(spec.get("workloadSelector") or {}).get("labels") or {},
            export_to=export_set(spec.get("exportTo"), default),
            addresses=tuple(spec.get("endpoints", [])),
            accounts=tuple(spec.get("subjectAltNames", [])),
            round_robin=spec.get("resolution") == "DNS_ROUND_ROBIN",
            virtual=tuple(text for text in spec.get("addresses", []) if "/" not in text),
        )
        for hostname in spec.get("hosts", [])
    ]


def services(world: World) -> list[Service]:
    """All services, oldest first."""

    def build() -> list[Service]:
        default = mesh_config(world).export_services
        found = [_of_cluster(obj, world.domain, default) for obj in world.all("Service")]
        for obj in world.all("ServiceEntry"):
            found += _of_entry(obj, default)
        return sorted(found, key=lambda service: (service.created, f"{service.name}.{service.namespace}"))

    return world.memo("services", ("Service", "ServiceEntry", "ConfigMap"), build)


def by_hostname(world: World) -> dict[str, list[Service]]:
    def build() -> dict[str, list[Service]]:
        index: dict[str, list[Service]] = {}
        for service in services(world):
            index.setdefault(service.hostname, []).append(service)
        return index

    return world.memo("services by hostname", ("Service", "ServiceEntry", "ConfigMap"), build)


def lookup(world: World, hostname: str, prefer: str, viewer: str) -> Service | None:
    """The service behind a host name as seen from `viewer`'s namespace; one in `prefer`'s namespace
    first.
    """
    seen = [service for service in by_hostname(world).get(hostname, []) if service.visible_in(viewer)]
    for wanted in (prefer, viewer):
        for service in sorted(seen, key=lambda found: found.entry):
            if service.namespace == wanted:
                return service
    return seen[0] if seen else None


def visible(world: World, namespace: str) -> list[Service]:
    """The services that a proxy of a namespace sees, each host name once (its own namespace's first)."""

    def build() -> list[Service]:
        chosen: dict[str, Service] = {}
        for service in services(world):
            if not service.visible_in(namespace):
                continue
            kept = chosen.get(service.hostname)
            nearer = kept is None or (kept.namespace != namespace and service.namespace == namespace)
            # Of one namespace's, the cluster's own Service comes before a ServiceEntry.
            truer = kept is not None and kept.namespace == service.namespace and kept.entry > service.entry
            if nearer or truer:
                chosen[service.hostname] = service
        return list(chosen.values())

    return world.memo(("visible services", namespace), ("Service", "ServiceEntry", "ConfigMap"), build)
