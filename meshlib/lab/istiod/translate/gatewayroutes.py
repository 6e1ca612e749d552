"""The route configurations of a gateway.

Source: istio/istio pilot/pkg/networking/core/gateway.go (buildGatewayHTTPRouteConfig); istio-facts C1, D.
"""

from __future__ import annotations

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import hosts, names, virtualservices
from meshlib.lab.istiod.translate.gateways import Server
from meshlib.lab.istiod.translate.model import Obj, Of, Problem, Proxy
from meshlib.lab.istiod.translate.proxyheaders import proxy_headers
from meshlib.lab.istiod.translate.routes import READS, RouteBuilder, sorted_routes
from meshlib.lab.istiod.translate.virtualservices import Same, VirtualService
from meshlib.lab.istiod.translate.world import World

#: istiod's limit for the body of a direct response.
MAX_DIRECT_RESPONSE = 1024 * 1024


def _routes(
    world: World, proxy: Proxy, server: Server, found: VirtualService
) -> tuple[list[Obj], list[Problem]]:
    def build() -> tuple[list[Obj], list[Problem]]:
        builder = RouteBuilder(
            world, proxy, minor(proxy.minor), server.port, server.gateway, tls=server.tls is not None
        )
        return builder.of(found), builder.problems

    what = ("routes", server.gateway, server.port, server.tls is not None, found.namespace, found.name)
    return world.memo(Of(proxy.uid, what), READS, build, Same(found), tuple(sorted(proxy.labels.items())))


def route_configuration(
    world: World, proxy: Proxy, name: str, servers: list[Server]
) -> tuple[Obj, list[Problem]]:
    """One route configuration: a virtual host for every host that a server and a VirtualService share."""
    virtual: dict[str, Obj] = {}
    counted = proxy_headers(world, proxy).attempt_count
    redirected: set[str] = set()
    collected: dict[str, list[Obj]] = {}
    built: dict[tuple[str, str, str], tuple[list[Obj], list[Problem]]] = {}
    problems: list[Problem] = []
    for server in servers:
        to_https = bool((server.tls or {}).get("httpsRedirect"))
        for found in virtualservices.for_gateway(world, proxy.namespace, server.gateway):
            shared = hosts.intersection(hosts.for_namespace(server.hosts, found.namespace), found.hosts)
            if not shared:
                continue
            # As istiod does, of two servers of a Gateway the first one's port decides for both.
            key = (server.gateway, found.namespace, found.name)
            routes, more = built.get(key) or _routes(world, proxy, server, found)
            problems += [problem for problem in more if problem not in problems]
            if not routes:
                continue
            built[key] = (routes, more)
            for host in (host.lower() for host in shared):
                virtual.setdefault(host, _virtual_host(host, server.port, counted=counted))
                collected.setdefault(host, []).extend(routes)
                if to_https:
                    redirected.add(host)
        if to_https:
            for host in (host.rpartition("/")[2].lower() for host in server.hosts):
                virtual.setdefault(host, _virtual_host(host, server.port, counted=counted))
                redirected.add(host)
    for host, found_host in virtual.items():
        if host in redirected:
            found_host["require_tls"] = "ALL"
        if host in collected:
            found_host["routes"] = sorted_routes(collected[host])
    listed = _collapse(virtual, collected)
    if not listed:
        blackhole = names.virtual_host("blackhole", servers[0].port)
        listed = [{"name": blackhole, "domains": ["*"]}]
    return {
        "name": name,
        "virtual_hosts": sorted(listed, key=lambda item: str(item["name"])),
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": MAX_DIRECT_RESPONSE,
    }, problems


def _virtual_host(host: str, port: int, *, counted: bool) -> Obj:
    return {
        "name": names.virtual_host(host, port),
        "domains": [host],
        "include_request_attempt_count": counted,
    }


def _collapse(virtual: dict[str, Obj], collected: dict[str, list[Obj]]) -> list[Obj]:
    """Hosts with the very same routes become one virtual host, named for the first of them."""
    kept: dict[tuple[object, ...], Obj] = {}
    listed: list[Obj] = []
    for host in sorted(virtual, key=hosts.specificity):
        found = virtual[host]
        key = (found.get("require_tls"), *(id(route) for route in collected.get(host, [])))
        if key in kept:
            kept[key]["domains"].append(host)
        else:
            kept[key] = found
            listed.append(found)
    return listed
