"""A sidecar's outbound side: an HTTP proxy on the pod's inside address, which applications reach by
`http_proxy`.

Source: istio-facts C1, D; istio/istio pilot/pkg/networking/core/httproute.go (virtual hosts by port and
name, the
`http_proxy` route).  Every visible service has a virtual host under all the names that a pod's DNS would
complete.
"""

from __future__ import annotations

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import accesslog, destinationrules, hosts, names, services, virtualservices
from meshlib.lab.istiod.translate.clusters import ClusterBuilder
from meshlib.lab.istiod.translate.endpoints import address
from meshlib.lab.istiod.translate.hcm import connection_manager
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Of, Problem, Proxy, describe
from meshlib.lab.istiod.translate.proxyheaders import proxy_headers
from meshlib.lab.istiod.translate.routes import (
    READS,
    RouteBuilder,
    default_route,
    hash_policy,
    sorted_routes,
)
from meshlib.lab.istiod.translate.services import Port, Service
from meshlib.lab.istiod.translate.virtualservices import MESH, Same, VirtualService
from meshlib.lab.istiod.translate.world import World

PORT = 15001


def listener(world: World, proxy: Proxy, clusters: ClusterBuilder, problems: list[Problem]) -> Obj:
    """`virtualOutbound`."""
    rds = (names.HTTP_PROXY_ROUTE, clusters.paths.route(names.HTTP_PROXY_ROUTE))
    manager = connection_manager(
        world,
        proxy,
        "outbound",
        f"outbound_{names.VIRTUAL_OUTBOUND}",
        rds=rds,
        filters=[],
        problems=problems,
    )
    found: Obj = {
        "name": names.VIRTUAL_OUTBOUND,
        "address": address(proxy.inside, proxy.true_port(PORT)),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"name": names.VIRTUAL_OUTBOUND, "filters": [manager]}],
    }
    if logs := accesslog.listener(world, proxy, "outbound", problems):
        found["access_log"] = logs
    return found


def domains(
    service: Service, port: int, namespace: str, domain: str, *, bare: bool, absolute: bool
) -> list[str]:
    """Every name of a service, as a pod of a namespace may write it, with the port and for `bare` also
    without; `absolute` adds the one with a dot at its end.
    """
    full = service.hostname
    variants = [full, *([f"{full}."] if absolute else [])]
    suffix = f".svc.{domain}"
    if full.endswith(suffix):
        short = full.removesuffix(suffix)
        own, _, scope = short.partition(".")
        variants += [f"{own}"] if scope == namespace else []
        variants += [f"{short}.svc", short]
    if service.cluster_ip == "None":
        variants += [f"*.{name}" for name in variants]
    if service.cluster_ip and service.cluster_ip != "None":
        variants.append(service.cluster_ip)
    variants += service.virtual
    found = []
    for name in variants:
        if bare:
            found.append(name)
        found.append(f"{name}:{port}")
    return found


class OutboundRoutes:
    """Builds the route configuration `http_proxy` of one sidecar."""

    def __init__(self, world: World, proxy: Proxy) -> None:
        self.world = world
        self.proxy = proxy
        self.row = minor(proxy.minor)
        self.mesh = mesh_config(world)
        self.headers = proxy_headers(world, proxy)
        self.problems: list[Problem] = []

    def build(self) -> Obj:
        taken: set[str] = set()
        listed: list[Obj] = []
        visible = services.visible(self.world, self.proxy.namespace)
        bound = virtualservices.for_gateway(self.world, self.proxy.namespace, MESH)
        chosen = self._chosen(visible, bound)
        for service in visible:
            http_ports = [port for port in service.ports if port.may_be_http]
            for port in http_ports:
                found = chosen.get(service.hostname)
                routes = self._routes(found, port.number) if found else []
                bare = port.number == 80 or not any(p.number == 80 for p in service.ports)
                bare = bare and (port.number == 80 or len(http_ports) == 1)
                names_of = domains(
                    service,
                    port.number,
                    self.proxy.namespace,
                    self.world.domain,
                    bare=bare,
                    absolute=self.row.absolute_names,
                )
                self._add(
                    listed,
                    taken,
                    service.hostname,
                    port.number,
                    names_of,
                    routes or [self._default(service, port)],
                )
        self._foreign(listed, taken, visible, bound)
        listed.sort(key=lambda item: str(item["name"]))
        listed.append(self._catch_all())
        return {
            "name": names.HTTP_PROXY_ROUTE,
            "virtual_hosts": listed,
            "validate_clusters": False,
            "max_direct_response_body_size_bytes": 1024 * 1024,
        }

    def _chosen(self, visible: list[Service], bound: list[VirtualService]) -> dict[str, VirtualService]:
        """The VirtualService of each service: an exact host before a wildcard, the longer wildcard, the
        older object.
        """
        found: dict[str, VirtualService] = {}
        exact: dict[str, VirtualService] = {}
        wildcards: list[tuple[str, VirtualService]] = []
        for item in bound:
            for host in item.hosts:
                if hosts.is_wildcard(host):
                    wildcards.append((host.lower(), item))
                else:
                    exact.setdefault(host.lower(), item)
        wildcards.sort(key=lambda pair: -len(pair[0]))
        for service in visible:
            if service.hostname in exact:
                found[service.hostname] = exact[service.hostname]
                continue
            for host, item in wildcards:
                if hosts.subset_of(service.hostname, host):
                    found[service.hostname] = item
                    break
        return found

    def _foreign(
        self, listed: list[Obj], taken: set[str], visible: list[Service], bound: list[VirtualService]
    ) -> None:
        """Virtual hosts for names that are no service: istiod serves them on port 80."""
        known = {service.hostname for service in visible if service.port(80)}
        for item in bound:
            if item.tcp or item.tls:
                text = "tcp and tls routes act at gateways only: the embedded lab's sidecars carry HTTP"
                self.problems.append(Problem(describe(item.obj), text))
            routes = None
            for host in item.hosts:
                wildcard = hosts.is_wildcard(host)
                if host in known or (wildcard and any(hosts.subset_of(name, host) for name in known)):
                    continue
                routes = routes if routes is not None else self._routes(item, 80)
                if routes:
                    name = host.lower()
                    self._add(listed, taken, name, 80, [name] if wildcard else [name, f"{name}:80"], routes)

    def _add(
        self,
        listed: list[Obj],
        taken: set[str],
        hostname: str,
        port: int,
        names_of: list[str],
        routes: list[Obj],
    ) -> None:
        free = [name for name in dict.fromkeys(names_of) if name not in taken]
        taken.update(free)
        if free:
            listed.append(
                {
                    "name": names.virtual_host(hostname, port),
                    "domains": free,
                    "routes": routes,
                    "include_request_attempt_count": self.headers.attempt_count,
                }
            )

    def _routes(self, found: VirtualService, port: int) -> list[Obj]:
        def build() -> tuple[list[Obj], list[Problem]]:
            builder = RouteBuilder(self.world, self.proxy, self.row, port, MESH)
            return sorted_routes(builder.of(found)), builder.problems

        key = Of(self.proxy.uid, ("mesh routes", port, found.namespace, found.name))
        labels = tuple(sorted(self.proxy.labels.items()))
        routes, problems = self.world.memo(key, READS, build, Same(found), labels)
        self.problems += [problem for problem in problems if problem not in self.problems]
        return routes

    def _default(self, service: Service, port: Port) -> Obj:
        cluster = names.outbound(port.number, service.hostname)
        operation = f"{service.hostname}:{port.number}/*"
        route = default_route(cluster, operation, self.row, self.mesh.default_http_retry)
        rule = destinationrules.rule_for(self.world, self.proxy, service)
        hashed = destinationrules.consistent_hash(rule, port.number, "")
        if hashed and (policy := hash_policy(hashed)):
            route["route"]["hash_policy"] = [policy]
        return route

    def _catch_all(self) -> Obj:
        """What is no known service: let through, or answered with 502 (REGISTRY_ONLY)."""
        if self.mesh.outbound_policy == "REGISTRY_ONLY":
            return {
                "name": "block_all",
                "domains": ["*"],
                "routes": [
                    {"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}
                ],
                "include_request_attempt_count": self.headers.attempt_count,
            }
        route: Obj = {
            "name": "allow_any",
            "match": {"prefix": "/"},
            "route": {"cluster": names.PASSTHROUGH, "timeout": "0s", "max_grpc_timeout": "0s"},
        }
        if self.headers.forwarded_host:
            route["route"] |= {"append_x_forwarded_host": True}
        return {
            "name": "allow_any",
            "domains": ["*"],
            "routes": [route],
            "include_request_attempt_count": self.headers.attempt_count,
        }
