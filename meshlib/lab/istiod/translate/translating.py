"""All resources of one proxy."""

from __future__ import annotations

from meshlib.lab.istiod.translate import gatewayroutes, gateways, outbound, tls, tracing
from meshlib.lab.istiod.translate.clusters import ClusterBuilder
from meshlib.lab.istiod.translate.gatewaylisteners import GatewayListeners
from meshlib.lab.istiod.translate.inbound import InboundBuilder
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Of, Problem, Proxy, Resources
from meshlib.lab.istiod.translate.names import Paths
from meshlib.lab.istiod.translate.security import Filters
from meshlib.lab.istiod.translate.world import World


def translate(world: World, proxy: Proxy, paths: Paths) -> Resources:
    """The listeners, routes, clusters, endpoints and secret names of a proxy, whose files are at `paths`.

    What could not be honoured is in `problems`; the rest is complete without it.
    """
    found = Resources()
    secrets = tls.Secrets(paths, proxy.namespace)
    builder = ClusterBuilder(world, proxy, paths, secrets)
    clusters, assignments = builder.outbound()
    problems: list[Problem] = []
    if proxy.role == "router":
        listeners, routes, more = _gateway(world, proxy, paths, secrets, problems)
    else:
        listeners, routes, more = _sidecar(world, proxy, builder, problems)
    clusters += [*more, builder.black_hole()]
    kept = _Kept(world, proxy.uid)
    found.listeners = kept.by_name("listener", listeners)
    found.routes = kept.by_name("route", routes)
    found.clusters = kept.by_name("cluster", clusters)
    found.endpoints = kept.by_name("endpoints", assignments, "cluster_name")
    found.secrets = dict(sorted(secrets.wanted.items()))
    if unreadable := mesh_config(world).unreadable:
        problems.append(Problem("ConfigMap istio", f"failed to read mesh config: {unreadable}"))
    problems += [*builder.problems, *tracing.findings(world, proxy)]
    found.problems = list(dict.fromkeys(problems))
    return found


def _gateway(
    world: World, proxy: Proxy, paths: Paths, secrets: tls.Secrets, problems: list[Problem]
) -> tuple[list[Obj], list[Obj], list[Obj]]:
    merged = gateways.merge(world, proxy)
    filters = Filters(world, proxy, gateways.bound_ports(world, proxy, merged))
    builder = GatewayListeners(world, proxy, paths, secrets, filters)
    listeners = builder.build(merged)
    problems += [*merged.problems, *filters.problems, *builder.problems]
    routes = []
    for name, servers in merged.routes.items():
        configuration, more = gatewayroutes.route_configuration(world, proxy, name, servers)
        routes.append(configuration)
        problems += more
    return listeners, routes, filters.clusters


def _sidecar(
    world: World, proxy: Proxy, builder: ClusterBuilder, problems: list[Problem]
) -> tuple[list[Obj], list[Obj], list[Obj]]:
    inside = InboundBuilder(world, proxy, builder)
    virtual_inbound, clusters = inside.build()
    outside = outbound.OutboundRoutes(world, proxy)
    routes = outside.build()
    problems += [*inside.problems, *inside.filters.problems, *outside.problems]
    virtual_outbound = outbound.listener(world, proxy, builder, problems)
    more = [builder.passthrough(), *clusters, *inside.filters.clusters]
    return [virtual_outbound, virtual_inbound], [routes], more


class _Kept:
    """Puts the resources of one proxy in order by name; one that equals the last one is the very same
    object.
    """

    def __init__(self, world: World, uid: str) -> None:
        self.world = world
        self.uid = uid

    def by_name(self, kind: str, resources: list[Obj], field: str = "name") -> dict[str, Obj]:
        """Of two with one name the first stays, as Envoy would reject both."""
        found: dict[str, Obj] = {}
        for resource in resources:
            name = resource[field]
            if name not in found:
                found[name] = self.world.keep(Of(self.uid, (kind, name)), resource)
        return found
