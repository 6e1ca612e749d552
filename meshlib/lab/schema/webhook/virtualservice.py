"""VirtualService: hosts, gateways, and what its HTTP, TLS and TCP routes may say."""

from __future__ import annotations

from meshlib.lab.schema.model import Obj

from . import common, reachable, routes
from .common import quoted
from .judgement import Judgement

MESH = "mesh"


def judge(found: Judgement, namespace: str, spec: Obj) -> None:
    hosts, gateways = spec.get("hosts") or [], spec.get("gateways") or []
    http, tls, tcp = (spec.get(kind) or [] for kind in ("http", "tls", "tcp"))
    if not hosts:
        for each, text in ((gateways, "gateways"), (tls, "tls route"), (tcp, "tcp route")):
            if each:
                found.add(f"delegate virtual service must have no {text} specified")
    on_gateway = bool(gateways) and MESH not in gateways
    routes.gateway_names(found, gateways)
    if not on_gateway:
        _claims(found, http, gateways)
    _hosts(found, hosts, on_gateway)
    if not (http or tls or tcp):
        found.add("http, tcp or tls must be provided in virtual service")
    for route in http:
        routes.http_route(found, route, delegate=not hosts)
    for route in tls:
        _tls_route(found, route, hosts, on_gateway)
    for route in tcp:
        for match in route.get("match") or ():
            _l4_match(found, match)
        if not route.get("route"):
            found.add("TCP route is required")
        routes.destinations(found, route.get("route") or [])
    common.export_to(found, namespace, spec.get("exportTo"))
    for kind in (http, tcp, tls):
        reachable.warn_unreachable(found, kind)
    reachable.warn_overlapping(found, http)


def _claims(found: Judgement, http: list[Obj], gateways: list[str]) -> None:
    for match in (match for route in http for match in route.get("match") or ()):
        for key in [*(match.get("headers") or ()), *(match.get("withoutHeaders") or ())]:
            if key.startswith("@request.auth.claims"):
                listed = " ".join(gateways)
                found.add(
                    f"JWT claim based routing (key: {key}) is only supported for gateway, "
                    f"found no gateways: [{listed}]"
                )


def _hosts(found: Judgement, hosts: list[str], on_gateway: bool) -> None:
    sound = True
    for host in hosts:
        error = common.wildcard_domain(host)
        if error and not common.is_ip(host):
            found.add(error)
            sound = False
        elif not error and not on_gateway and host == "*":
            found.add("wildcard host * is not allowed for virtual services bound to the mesh gateway")
            sound = False
    if not sound:
        return
    for index, one in enumerate(hosts):
        for other in hosts[index + 1 :]:
            if common.host_matches(one, other):
                found.add(f"duplicate hosts in virtual service: {one} & {other}")


def _tls_route(found: Judgement, route: Obj, hosts: list[str], on_gateway: bool) -> None:
    if not route.get("match"):
        found.add("TLS route must have at least one match condition")
    for match in route.get("match") or ():
        if not match.get("sniHosts"):
            found.add("TLS match must have at least one SNI host")
        for host in match.get("sniHosts") or ():
            _sni_host(found, host, hosts, on_gateway)
        _l4_match(found, match)
    if not route.get("route"):
        found.add("TLS route is required")
    routes.destinations(found, route.get("route") or [])


def _sni_host(found: Judgement, host: str, hosts: list[str], on_gateway: bool) -> None:
    if on_gateway and host.startswith("outbound_"):
        if len(host.split("_")) < 4:
            form = "outbound_.<PORT>_._.<HOSTNAME>"
            found.add(f"domain name {host} invalid, should follow '{form}' format")
        return
    error = common.wildcard_domain(host)
    if error and common.is_ip(host):
        found.warn(
            f"using an IP address ({quoted(host)}) goes against SNI spec and most clients do not support this"
        )
    elif error:
        found.add(error)
    elif not any(common.host_within(host, wider) for wider in hosts):
        listed = ", ".join(hosts)
        found.add(
            f"SNI host {quoted(host)} is not a compatible subset of any of the virtual service hosts: "
            f"[{listed}]"
        )


def _l4_match(found: Judgement, match: Obj) -> None:
    for subnet in match.get("destinationSubnets") or ():
        found.add(common.subnet(subnet))
    if match.get("port"):
        found.add(common.port(match["port"]))
    common.labels(found, match.get("sourceLabels"))
    routes.gateway_names(found, match.get("gateways") or [])
