"""TCP and TLS routes of VirtualServices at a gateway.

Source: istio/istio pilot/pkg/networking/core/gateway.go (buildGatewayNetworkFiltersFrom…).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlib.lab.istiod.translate import accesslog, hosts, names, services, virtualservices
from meshlib.lab.istiod.translate.gateways import Server
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, describe, typed
from meshlib.lab.istiod.translate.virtualservices import VirtualService
from meshlib.lab.istiod.translate.world import World

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


class TcpBuilder:
    """Builds the network filters of servers that are not HTTP."""

    def __init__(self, world: World, proxy: Proxy, problems: list[Problem]) -> None:
        self.world = world
        self.proxy = proxy
        self.problems = problems

    def _bound(self, server: Server) -> Iterator[VirtualService]:
        for found in virtualservices.for_gateway(self.world, self.proxy.namespace, server.gateway):
            own = hosts.for_namespace(server.hosts, found.namespace)
            if any(hosts.matches(host, name) for host in own for name in found.hosts):
                yield found

    def _matches(self, found: VirtualService, match: Mapping[str, Any], server: Server) -> bool:
        if match.get("port") and match["port"] != server.port:
            return False
        given = match.get("gateways")
        return not given or server.gateway in found.gateway_names(given)

    def of_tcp(self, server: Server) -> list[Obj]:
        """The filters of the first TCP route that is bound to the server; none where there is no route."""
        for found in self._bound(server):
            for rule in found.tcp:
                matches = rule.get("match") or []
                if not matches or any(self._matches(found, match, server) for match in matches):
                    return self._filters(found, rule.get("route") or [], server.port)
        return []

    def of_tls(self, server: Server, taken: set[str]) -> Iterator[tuple[list[str], list[Obj]]]:
        """The SNI names and filters of every TLS route; a name that an older route has is left out."""
        for found in self._bound(server):
            for rule in found.tls:
                for match in rule.get("match") or []:
                    if not rule.get("route") or not self._matches(found, match, server):
                        continue
                    sni = list(match.get("sniHosts") or [])
                    if double := [name for name in sni if name in taken]:
                        text = f"an older TLS route has the server name {', '.join(double)} on the port"
                        self.problems.append(Problem(describe(found.obj), text))
                        continue
                    taken.update(sni)
                    yield sni, self._filters(found, rule["route"], server.port)

    def _filters(self, found: VirtualService, destinations: list[dict[str, Any]], port: int) -> list[Obj]:
        if not destinations:
            return []
        logs = accesslog.http(self.world, self.proxy, "gateway", self.problems) or None
        if len(destinations) == 1:
            cluster = self._cluster(found, destinations[0]["destination"], port)
            config = typed(_TCP_PROXY, stat_prefix=cluster, cluster=cluster, access_log=logs)
        else:
            weighted = [
                {"name": self._cluster(found, item["destination"], port), "weight": item["weight"]}
                for item in destinations
                if item.get("weight")
            ]
            prefix = f"{found.name}.{found.namespace}"
            config = typed(
                _TCP_PROXY, stat_prefix=prefix, weighted_clusters={"clusters": weighted}, access_log=logs
            )
        return [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]

    def _cluster(self, found: VirtualService, destination: Mapping[str, Any], port: int) -> str:
        hostname = found.host(destination)
        number = (destination.get("port") or {}).get("number")
        if number is None:
            service = services.lookup(self.world, hostname, found.namespace, self.proxy.namespace)
            number = service.ports[0].number if service and len(service.ports) == 1 else port
        return names.outbound(number, hostname, destination.get("subset", ""))
