"""All resources of one proxy."""

from __future__ import annotations

from meshlib.lab.istiod.translate import gatewayroutes, gateways, outbound, tls, tracing
from meshlib.lab.istiod.translate.clusters import ClusterBuilder
from meshlib.lab.istiod.translate.gatewaylisteners import GatewayListeners
from meshlib.lab.istiod.translate.inbound import InboundBuilder
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, Resources
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
    filters = Filters(world, proxy)
    problems: list[Problem] = []
    if proxy.role == "router":
        listeners, routes = _gateway(world, proxy, paths, secrets, filters, problems)
    else:
        listeners, routes, inbound = _sidecar(world, proxy, builder, filters, problems)
        clusters += [builder.passthrough(), *inbound]
    clusters.append(builder.black_hole())
    found.listeners = _by_name(listeners)
    found.routes = _by_name(routes)
    found.clusters = _by_name(clusters)
    found.endpoints = {item["cluster_name"]: item for item in assignments}
    found.secrets = dict(sorted(secrets.wanted.items()))
    if unreadable := mesh_config(world).unreadable:
        problems.append(Problem("ConfigMap istio", f"failed to read mesh config: {unreadable}"))
    problems += [*builder.problems, *filters.problems, *tracing.findings(world, proxy)]
    found.problems = list(dict.fromkeys(problems))
    return found


def _gateway(
    world: World, proxy: Proxy, paths: Paths, secrets: tls.Secrets, filters: Filters, problems: list[Problem]
) -> tuple[list[Obj], list[Obj]]:
    merged = gateways.merge(world, proxy)
    problems += merged.problems
    builder = GatewayListeners(world, proxy, paths, secrets, filters)
    listeners = builder.build(merged)
    problems += builder.problems
    routes = []
    for name, servers in merged.routes.items():
        configuration, more = gatewayroutes.route_configuration(world, proxy, name, servers)
        routes.append(configuration)
        problems += more
    return listeners, routes


def _sidecar(
    world: World, proxy: Proxy, builder: ClusterBuilder, filters: Filters, problems: list[Problem]
) -> tuple[list[Obj], list[Obj], list[Obj]]:
    inside = InboundBuilder(world, proxy, builder, filters)
    virtual_inbound, clusters = inside.build()
    problems += inside.problems
    outside = outbound.OutboundRoutes(world, proxy)
    routes = outside.build()
    problems += outside.problems
    virtual_outbound = outbound.listener(world, proxy, builder, problems)
    return [virtual_outbound, virtual_inbound], [routes], clusters


def _by_name(resources: list[Obj]) -> dict[str, Obj]:
    """The resources by name; of two with one name the first stays, as Envoy would reject both."""
    found: dict[str, Obj] = {}
    for resource in resources:
        found.setdefault(resource["name"], resource)
    return found
