"""The listeners of a gateway: one for each port that a Gateway serves.

Source: istio-facts C1, C3, C4; istio/istio pilot/pkg/networking/core/gateway.go.
The proxy binds the pod's address, and itself the ClusterIP, the load balancer's address and the node
port of
the
Services that lead to it (docs/ARCHITECTURE.md, Addresses).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import accesslog, names, tls
from meshlib.lab.istiod.translate.endpoints import address
from meshlib.lab.istiod.translate.gateways import Listen, Merged, Server, addresses
from meshlib.lab.istiod.translate.hcm import GRPC_WEB, connection_manager
from meshlib.lab.istiod.translate.mesh import mesh_config, proxy_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, typed
from meshlib.lab.istiod.translate.names import Paths
from meshlib.lab.istiod.translate.security import Filters
from meshlib.lab.istiod.translate.tcp import TcpBuilder
from meshlib.lab.istiod.translate.world import World

_PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": typed("envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"),
}
#: How long a client may take to say what it wants, so that half-open connections do not pile up.
HANDSHAKE = "15s"
_TLS_INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
}


class GatewayListeners:
    """Builds the listeners of one gateway."""

    def __init__(
        self, world: World, proxy: Proxy, paths: Paths, secrets: tls.Secrets, filters: Filters
    ) -> None:
        self.world = world
        self.proxy = proxy
        self.paths = paths
        self.secrets = secrets
        self.filters = filters
        self.mesh = mesh_config(world)
        self.problems: list[Problem] = []
        self.tcp = TcpBuilder(world, proxy, self.problems)

    def build(self, merged: Merged) -> list[Obj]:
        found = []
        for listen in merged.ports.values():
            chains = self._chains(listen)
            if not chains:
                continue
            if listen.port not in self.proxy.ports and not self.world.bindable(listen.port):
                text = f"port {listen.port} may not be bound by this user and the pod does not declare it"
                self.problems.append(Problem(f"Gateway {listen.servers[0].gateway}", text))
                continue
            bound = addresses(self.world, self.proxy, listen)
            name = names.listener(listen.port)
            if minor(self.proxy.minor).handshake_timeout:
                for chain in chains:
                    chain["transport_socket_connect_timeout"] = HANDSHAKE
            listener: Obj = {
                "name": name,
                "address": address(*bound[0]),
                "traffic_direction": "OUTBOUND",
                "filter_chains": chains,
            }
            before = [] if listen.plain else [_TLS_INSPECTOR]
            topology = proxy_config(self.mesh, self.proxy).get("gatewayTopology") or {}
            if topology.get("proxyProtocol") is not None:
                before = [_PROXY_PROTOCOL, *before]
            if before:
                listener["listener_filters"] = before
            if bound[1:]:
                listener["additional_addresses"] = [{"address": address(*pair)} for pair in bound[1:]]
            if logs := accesslog.listener(self.world, self.proxy, "gateway", self.problems):
                listener["access_log"] = logs
            found.append(listener)
        return found

    def _chains(self, listen: Listen) -> list[Obj]:
        if listen.plain and listen.servers[0].is_http:
            return [self._http(listen, listen.servers[0])]
        chains: list[Obj] = []
        taken: set[str] = set()
        for server in listen.servers:
            if server.is_http:
                chains.append(self._http(listen, server))
            else:
                chains += self._network(server, taken)
        return chains

    def _http(self, listen: Listen, server: Server) -> Obj:
        name = names.listener(listen.port)
        prefix = f"outbound_{name}"
        if server.ends_tls:
            prefix = server.spec.get("name") or prefix
        manager = connection_manager(
            self.world,
            self.proxy,
            "gateway",
            prefix,
            rds=(server.route, self.paths.route(server.route)),
            filters=[*self.filters.http, *([GRPC_WEB] if server.protocol == "GRPC-WEB" else [])],
            problems=self.problems,
        )
        chain: Obj = {"filters": [manager]}
        if server.ends_tls and server.tls is not None:
            chain |= _sni(server.sni)
            chain["transport_socket"] = self._ending(server.tls, tcp=False)
        return chain

    def _ending(self, settings: Mapping[str, Any], *, tcp: bool) -> Obj:
        return tls.server(settings, self.secrets, self.mesh.tls_defaults, tcp=tcp)

    def _network(self, server: Server, taken: set[str]) -> list[Obj]:
        """TCP servers, TLS that ends here without HTTP, and TLS that is passed on by its SNI."""
        if server.tls is None or server.ends_tls:
            filters = self.tcp.of_tcp(server)
            if not filters:
                return []
            chain: Obj = {"filters": [*self.filters.network, *filters]}
            if server.ends_tls and server.tls is not None:
                chain |= _sni(server.sni)
                chain["transport_socket"] = self._ending(server.tls, tcp=True)
            return [chain]
        if server.tls.get("mode") == "AUTO_PASSTHROUGH":
            text = "tls mode AUTO_PASSTHROUGH is not supported by the embedded lab"
            self.problems.append(Problem(f"Gateway {server.gateway}", text))
            return []
        chains = []
        for sni, filters in self.tcp.of_tls(server, taken):
            chains.append({**_sni(sni), "filters": [*self.filters.network, *filters]})
        return chains


def _sni(names_of: list[str]) -> Obj:
    """The match on the server name; with `*` among them there is no match at all, as everything matches."""
    return {} if "*" in names_of else {"filter_chain_match": {"server_names": names_of}}
