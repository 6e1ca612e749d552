"""The routes of a VirtualService, for a gateway's port or for a sidecar.

Source: istio/istio pilot/pkg/networking/core/route/route.go; istio-facts C2, D.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.minors import Minor
from meshlib.lab.istiod.translate import destinationrules, names, services
from meshlib.lab.istiod.translate.actions import (
    cors,
    direct_response,
    fault,
    header_operations,
    percent_of_mirror,
    redirect,
    retry_policy,
)
from meshlib.lab.istiod.translate.durations import proto
from meshlib.lab.istiod.translate.matching import is_catch_all, route_match
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import MALFORMED, Obj, Problem, Proxy, describe, present
from meshlib.lab.istiod.translate.proxyheaders import proxy_headers
from meshlib.lab.istiod.translate.virtualservices import VirtualService
from meshlib.lab.istiod.translate.world import World
from meshlib.lab.schema import re2

READS = ("Service", "ServiceEntry", "DestinationRule", "ConfigMap")
FAULT = "envoy.filters.http.fault"
CORS = "envoy.filters.http.cors"


class RouteBuilder:
    """Builds the routes of VirtualServices for one proxy.

    port: the Gateway server's port, or for a sidecar the service's
    gateway: the gateway's `<namespace>/<name>`, or `mesh`
    """

    def __init__(
        self, world: World, proxy: Proxy, row: Minor, port: int, gateway: str, *, tls: bool = False
    ) -> None:
        self.world = world
        self.proxy = proxy
        self.row = row
        self.port = port
        self.gateway = gateway
        self.tls = tls
        self.mesh = mesh_config(world)
        self.headers = proxy_headers(world, proxy)
        self.problems: list[Problem] = []

    def of(self, found: VirtualService) -> list[Obj]:
        """The routes in order; nothing follows a route that takes everything."""
        routes: list[Obj] = []
        self.problems += found.problems
        for rule in found.http:
            for match in rule.get("match") or [None]:
                try:
                    route = self._route(found, rule, match)
                except MALFORMED as error:
                    self._leave_out(found, f"{type(error).__name__} {error}")
                    continue
                if route is None:
                    continue
                routes.append(route)
                if match is not None and is_catch_all(route["match"]):
                    return routes
            if not rule.get("match"):
                return routes
        return routes

    def _leave_out(self, found: VirtualService, reason: str) -> None:
        """One bad route must not take the good ones down."""
        self.problems.append(Problem(describe(found.obj), f"a route is left out: {reason}"))

    def _applies(self, match: Mapping[str, Any] | None, found: VirtualService) -> bool:
        if match is None:
            return True
        if match.get("port") and match["port"] != self.port:
            return False
        if match.get("gateways"):
            return self.gateway in found.gateway_names(match["gateways"])
        labels = match.get("sourceLabels") or {}
        if any(self.proxy.labels.get(key) != value for key, value in labels.items()):
            return False
        return match.get("sourceNamespace", "") in ("", self.proxy.namespace)

    def _route(
        self, found: VirtualService, rule: Mapping[str, Any], match: Mapping[str, Any] | None
    ) -> Obj | None:
        if not self._applies(match, found):
            return None
        if reason := _bad_expression(match) or _bad_expression({**rule, "match": None}):
            # Envoy would refuse the whole route configuration, and with it every good route.
            self._leave_out(found, reason)
            return None
        condition = route_match(match)
        name = rule.get("name", "")
        if match and match.get("name"):
            name = f"{name}.{match['name']}"
        route: Obj = {
            **({"name": name} if name else {}),
            "match": condition,
            "metadata": {
                "filter_metadata": {
                    "istio": {"config": config_path(self.row, "virtual-service", found.namespace, found.name)}
                }
            },
        }
        if match and match.get("statPrefix"):
            route["stat_prefix"] = match["statPrefix"]
        operations = header_operations(rule.get("headers") or {})
        authority = operations.pop("authority", "")
        route |= operations
        if rule.get("redirect"):
            route["redirect"] = redirect(rule["redirect"], self.port, tls=self.tls)
        elif rule.get("directResponse"):
            route["direct_response"] = direct_response(rule["directResponse"])
        else:
            self._forward(route, found, rule, authority)
        route["decorator"] = {"operation": self._operation(route, found)}
        filters = present(
            **{FAULT: fault(rule["fault"]) if rule.get("fault") else None},
            **{CORS: cors(rule["corsPolicy"]) if rule.get("corsPolicy") else None},
        )
        if filters:
            route["typed_per_filter_config"] = filters
        return route

    def _forward(self, route: Obj, found: VirtualService, rule: Mapping[str, Any], authority: str) -> None:
        timeout = proto(rule["timeout"]) if rule.get("timeout") else "0s"
        action: Obj = {"timeout": timeout, "max_grpc_timeout": timeout}
        rewrite = rule.get("rewrite") or {}
        if rule.get("rewrite") is not None and self.headers.forwarded_host:
            action["append_x_forwarded_host"] = True
        if regex := rewrite.get("uriRegexRewrite"):
            action["regex_rewrite"] = {
                "pattern": {"regex": regex.get("match", "")},
                "substitution": regex.get("rewrite", ""),
            }
        elif rewrite.get("uri"):
            action["prefix_rewrite"] = rewrite["uri"]
        authority = rewrite.get("authority") or authority
        if authority:
            action["host_rewrite_literal"] = authority
        if mirrors := self._mirrors(found, rule):
            action["request_mirror_policies"] = mirrors
        hashed = self._destinations(route, action, found, rule.get("route") or [])
        policy = rule.get("retries", self.mesh.default_http_retry)
        if retries := retry_policy(policy, self.row, consistent_hash=hashed):
            action["retry_policy"] = retries
        route["route"] = action

    def _mirrors(self, found: VirtualService, rule: Mapping[str, Any]) -> list[Obj]:
        mirrors: list[Obj] = []
        wanted = [(rule["mirror"], percent_of_mirror(rule))] if rule.get("mirror") else []
        wanted += [
            (item["destination"], percent_of_mirror({"mirrorPercentage": item.get("percentage")}))
            for item in rule.get("mirrors") or []
        ]
        for destination, percent in wanted:
            if percent is not None:
                mirrors.append(
                    {
                        "cluster": self._cluster(found, destination),
                        "runtime_fraction": {"default_value": percent},
                        "trace_sampled": False,
                        **({} if self.row.shadow_suffix else {"disable_shadow_host_suffix_append": True}),
                    }
                )
        return mirrors

    def _destinations(
        self, route: Obj, action: Obj, found: VirtualService, destinations: list[dict[str, Any]]
    ) -> bool:
        """Puts the destinations into the action; True where a consistent hash chooses among their
        endpoints.
        """
        if len(destinations) == 1:
            only = destinations[0]
            action["cluster"] = self._cluster(found, only["destination"])
            operations = header_operations(only.get("headers") or {})
            authority = operations.pop("authority", "")
            for name, values in operations.items():
                route[name] = [*route.get(name, []), *values]
            if authority and "host_rewrite_literal" not in action:
                action["host_rewrite_literal"] = authority
            return self._hash(action, found, only["destination"])
        weighted = []
        for item in destinations:
            if not item.get("weight"):
                continue
            operations = header_operations(item.get("headers") or {})
            authority = operations.pop("authority", "")
            weighted.append(
                {
                    "name": self._cluster(found, item["destination"]),
                    "weight": item["weight"],
                    **operations,
                    **({"host_rewrite_literal": authority} if authority else {}),
                }
            )
            self._hash(action, found, item["destination"])
        if not weighted:
            raise ValueError("it has no destination with a weight")
        action["weighted_clusters"] = {"clusters": weighted}
        return False

    def _cluster(self, found: VirtualService, destination: Mapping[str, Any]) -> str:
        hostname = found.host(destination)
        port = (destination.get("port") or {}).get("number")
        if port is None:
            service = services.lookup(self.world, hostname, found.namespace, self.proxy.namespace)
            port = service.ports[0].number if service and len(service.ports) == 1 else self.port
        return names.outbound(port, hostname, destination.get("subset", ""))

    def _hash(self, action: Obj, found: VirtualService, destination: Mapping[str, Any]) -> bool:
        hostname = found.host(destination)
        service = services.lookup(self.world, hostname, found.namespace, self.proxy.namespace)
        if service is None:
            return False
        rule = destinationrules.rule_for(self.world, self.proxy, service)
        port = (destination.get("port") or {}).get("number")
        hashed = destinationrules.consistent_hash(rule, port, destination.get("subset", ""))
        if hashed is None:
            return False
        if policy := hash_policy(hashed):
            action.setdefault("hash_policy", []).append(policy)
        return True

    def _operation(self, route: Obj, found: VirtualService) -> str:
        """The name that a span of this route gets."""
        match = route["match"]
        if "path" in match:
            path = match["path"]
        elif "prefix" in match:
            path = f"{match['prefix']}*"
        else:
            path = match["safe_regex"]["regex"]
        cluster = route.get("route", {}).get("cluster", "")
        if cluster.startswith("outbound|"):
            _, port, _, hostname = cluster.split("|", 3)
            return f"{hostname}:{port}{path}"
        return f"{found.name}:{self.port}{path}"


def _bad_expression(value: object) -> str | None:
    """The first regular expression under a value that Envoy would not take, and why."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            regex = inner if key == "regex" else inner.get("match") if key == "uriRegexRewrite" else None
            if isinstance(regex, str) and regex != "*" and (reason := re2.refusal(regex)):
                return f"regular expression {regex!r}: {reason}"
            if reason := _bad_expression(inner):
                return reason
    elif isinstance(value, list):
        return next((reason for reason in map(_bad_expression, value) if reason), None)
    return None


def hash_policy(hashed: Mapping[str, Any]) -> Obj | None:
    """A consistent hash's key as a route's hash policy."""
    if name := hashed.get("httpHeaderName"):
        return {"header": {"header_name": name}}
    if cookie := hashed.get("httpCookie"):
        attributes = [
            {"name": a["name"], "value": a.get("value", "")} for a in cookie.get("attributes") or []
        ]
        return {
            "cookie": present(
                name=cookie["name"],
                ttl=proto(cookie["ttl"]) if cookie.get("ttl") is not None else None,
                path=cookie.get("path"),
                attributes=attributes or None,
            )
        }
    if hashed.get("useSourceIp"):
        return {"connection_properties": {"source_ip": True}}
    if name := hashed.get("httpQueryParameterName"):
        return {"query_parameter": {"name": name}}
    return None


def config_path(row: Minor, kind: str, namespace: str, name: str) -> str:
    """How routes and clusters name the object that they came from; istioctl prints it."""
    return f"/apis/networking.istio.io/{row.config_version}/namespaces/{namespace}/{kind}/{name}"


def default_route(cluster: str, operation: str, row: Minor, mesh_retry: Mapping[str, Any] | None) -> Obj:
    """The route of a service that no VirtualService speaks of."""
    return {
        "name": "default",
        "match": {"prefix": "/"},
        "route": present(
            cluster=cluster,
            timeout="0s",
            max_grpc_timeout="0s",
            retry_policy=retry_policy(mesh_retry, row, consistent_hash=False),
        ),
        "decorator": {"operation": operation},
    }


def sorted_routes(routes: list[Obj]) -> list[Obj]:
    """Routes that take everything go to the end; the others keep their order."""
    return sorted(routes, key=lambda route: is_catch_all(route["match"]))
