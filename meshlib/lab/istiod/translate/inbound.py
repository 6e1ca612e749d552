"""A sidecar's inbound side: one listener on the pod's address at every port that the application
declares.

Source: istio-facts C1, C5; istio/istio pilot/pkg/networking/core/listener_inbound.go,
filterchain_options.go.
There is no iptables here: the listener is bound at 15006 and at each declared port (docs/ARCHITECTURE.md,
Addresses).
"""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import accesslog, authn, names, tls
from meshlib.lab.istiod.translate.clusters import ClusterBuilder
from meshlib.lab.istiod.translate.endpoints import address
from meshlib.lab.istiod.translate.gateways import services_of
from meshlib.lab.istiod.translate.hcm import connection_manager
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, typed
from meshlib.lab.istiod.translate.security import Filters
from meshlib.lab.istiod.translate.services import AUTO, Port, Service
from meshlib.lab.istiod.translate.world import World

PORT = 15006
HTTP_ALPN = ["http/1.1", "h2c"]


@dataclass(frozen=True)
class Chain:
    """One kind of connection: its ALPN names, whether it is TLS, whether TLS ends here, whether HTTP
    comes
    out.
    """

    alpn: tuple[str, ...]
    transport: str
    http: bool
    ends_tls: bool = False


_MTLS_HTTP = Chain(tuple(tls.MTLS_HTTP_ALPN), "tls", True, True)
_TABLE: dict[tuple[str, str], tuple[Chain, ...]] = {
    ("http", "STRICT"): (Chain((), "tls", True, True),),
    ("http", "PERMISSIVE"): (
        Chain(tuple(tls.ALL_MTLS_ALPN), "tls", True, True),
        Chain((), "raw_buffer", True),
    ),
    ("http", "DISABLE"): (Chain((), "raw_buffer", True),),
    ("auto", "STRICT"): (_MTLS_HTTP, Chain((), "tls", False, True)),
    ("auto", "PERMISSIVE"): (
        _MTLS_HTTP,
        Chain(tuple(HTTP_ALPN), "raw_buffer", True),
        Chain(tuple(tls.MTLS_TCP_ALPN), "tls", False, True),
        Chain((), "raw_buffer", False),
        Chain((), "tls", False),
    ),
    ("auto", "DISABLE"): (Chain(tuple(HTTP_ALPN), "raw_buffer", True), Chain((), "raw_buffer", False)),
    ("tcp", "STRICT"): (Chain((), "tls", False, True),),
    ("tcp", "PERMISSIVE"): (
        Chain(tuple(tls.ALL_MTLS_ALPN), "tls", False, True),
        Chain((), "tls", False),
        Chain((), "raw_buffer", False),
    ),
    ("tcp", "DISABLE"): (Chain((), "raw_buffer", False),),
}


def chains_for(protocol: str, mode: str) -> tuple[Chain, ...]:
    """The kinds of connection that a port of a protocol takes under a mode of mutual TLS."""
    kind = (
        "auto" if protocol == AUTO else "http" if protocol in ("HTTP", "HTTP2", "GRPC", "GRPC-WEB") else "tcp"
    )
    return _TABLE[kind, mode]


class InboundBuilder:
    """Builds `virtualInbound` and its clusters for one sidecar."""

    def __init__(self, world: World, proxy: Proxy, clusters: ClusterBuilder) -> None:
        self.world = world
        self.proxy = proxy
        self.clusters = clusters
        bound = {declared: (proxy.true_port(declared),) for declared in self.targets()}
        self.filters = Filters(world, proxy, bound)
        self.modes = authn.modes(world, proxy.namespace, proxy.labels)
        self.problems: list[Problem] = []

    def targets(self) -> dict[int, tuple[Port, Service] | None]:
        """The application's ports: declared container ports and the targets of its Services; the oldest
        wins.
        """
        found: dict[int, tuple[Port, Service] | None] = {}
        for service in services_of(self.world, self.proxy):
            for port in service.ports:
                target = (
                    port.target if isinstance(port.target, int) else self.proxy.named_ports.get(port.target)
                )
                if target is not None and port.protocol != "UDP":
                    found.setdefault(target, (port, service))
        for declared in self.proxy.container_ports:
            found.setdefault(declared, None)
        return dict(sorted(found.items()))

    def build(self) -> tuple[Obj, list[Obj]]:
        """The listener and the clusters of the application's ports."""
        chains: list[Obj] = []
        clusters: list[Obj] = []
        bound: list[int] = []
        for declared, target in self.targets().items():
            if declared in self.proxy.own_ports:
                continue
            port, service = target or (None, None)
            cluster = self.clusters.inbound(declared, port, service)
            clusters.append(cluster)
            bound.append(self.proxy.true_port(declared))
            mode = self.modes.at(declared)
            chains += [
                self._chain(chain, declared, port, service, cluster["name"])
                for chain in chains_for(port.protocol if port else AUTO, mode)
            ]
        listener: Obj = {
            "name": names.VIRTUAL_INBOUND,
            "address": address(self.proxy.address, self.proxy.true_port(PORT)),
            "traffic_direction": "INBOUND",
            "listener_filters": [
                {"name": "envoy.filters.listener.tls_inspector", "typed_config": typed(_TLS_INSPECTOR)},
                {"name": "envoy.filters.listener.http_inspector", "typed_config": typed(_HTTP_INSPECTOR)},
            ],
            "continue_on_listener_filters_timeout": True,
            "filter_chains": [*self._blackhole(), *chains],
        }
        timeout = self.clusters.mesh.protocol_detection_timeout
        listener["listener_filters_timeout"] = timeout
        if bound:
            listener["additional_addresses"] = [
                {"address": address(self.proxy.address, port)} for port in bound
            ]
        if logs := accesslog.listener(self.world, self.proxy, "inbound", self.problems):
            listener["access_log"] = logs
        return listener, clusters

    def _blackhole(self) -> list[Obj]:
        """Nobody may talk to 15006 itself: in a real pod only redirected connections come here."""
        proxy = typed(_TCP_PROXY, stat_prefix=names.BLACK_HOLE, cluster=names.BLACK_HOLE)
        return [
            {
                "name": "virtualInbound-blackhole",
                "filter_chain_match": {"destination_port": self.proxy.true_port(PORT)},
                "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}],
            }
        ]

    def _chain(
        self, chain: Chain, declared: int, port: Port | None, service: Service | None, cluster: str
    ) -> Obj:
        name = names.listener(declared)
        match: Obj = {
            "destination_port": self.proxy.true_port(declared),
            "transport_protocol": chain.transport,
        }
        if chain.alpn:
            match["application_protocols"] = list(chain.alpn)
        found: Obj = {"name": name, "filter_chain_match": match}
        if chain.ends_tls:
            mesh = self.clusters.mesh
            found["transport_socket"] = tls.inbound(
                self.clusters.secrets, mesh.trust_domains, mesh.mesh_mtls, http=chain.http
            )
        if chain.http:
            found["filters"] = [
                connection_manager(
                    self.world,
                    self.proxy,
                    "inbound",
                    f"inbound_{name}",
                    route_config=self._routes(declared, port, service, cluster),
                    filters=self.filters.http,
                    problems=self.problems,
                )
            ]
        else:
            logs = accesslog.http(self.world, self.proxy, "inbound", self.problems)
            proxy = typed(_TCP_PROXY, stat_prefix=cluster, cluster=cluster, access_log=logs or None)
            found["filters"] = [
                *self.filters.network,
                {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
            ]
        return found

    def _routes(self, declared: int, port: Port | None, service: Service | None, cluster: str) -> Obj:
        operation = f"{service.hostname}:{port.number}/*" if service and port else ":0/*"
        number = port.number if port else declared
        route: Obj = {
            "name": "default",
            "match": {"prefix": "/"},
            "decorator": {"operation": operation},
            "route": {
                "cluster": cluster,
                "timeout": "0s",
                "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
            },
        }
        row = minor(self.proxy.minor)
        grpc = port is not None and port.protocol in ("GRPC", "GRPC-WEB")
        if row.inbound_retry and not (grpc and row.number >= 26):
            route["route"] |= {"retry_policy": {"retry_on": "reset-before-request", "num_retries": 2}}
        return {
            "name": cluster,
            "virtual_hosts": [{"name": f"inbound|http|{number}", "domains": ["*"], "routes": [route]}],
            "validate_clusters": False,
        }


_TLS_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_HTTP_INSPECTOR = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
