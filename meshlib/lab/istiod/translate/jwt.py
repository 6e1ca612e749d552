"""RequestAuthentications as the JWT filter: a missing token passes, an invalid one is 401.

Source: istio/istio pilot/pkg/security/authn/policy_applier.go; istio-facts C7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from meshlib.lab.istiod.translate import durations, endpoints, services
from meshlib.lab.istiod.translate.matching import JWT
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, describe, present, typed
from meshlib.lab.istiod.translate.telemetry import cluster_of
from meshlib.lab.istiod.translate.world import World

_FILTER = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
#: What Envoy gets where a key set cannot be had: it never holds, so that every token is refused.
NO_KEYS = '{"keys":[]}'


def rules(world: World, proxy: Proxy) -> list[tuple[Obj, Mapping[str, Any]]]:
    """The rules for a workload, of the root namespace and of its own, with the objects that they come
    from.
    """
    found = []
    for namespace in dict.fromkeys((world.root_namespace, proxy.namespace)):
        for obj in world.all("RequestAuthentication"):
            labels = (obj.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
            if obj["metadata"]["namespace"] == namespace and all(
                proxy.labels.get(key) == value for key, value in labels.items()
            ):
                found += [(obj, rule) for rule in obj.get("spec", {}).get("jwtRules") or []]
    # One order whatever the age of the objects, as istiod sorts by issuer.
    return sorted(found, key=lambda pair: str(pair[1].get("issuer", "")))


class Jwt:
    """The JWT filter of one proxy, and the clusters that its key sets are fetched through."""

    def __init__(self, world: World, proxy: Proxy, problems: list[Problem]) -> None:
        self.world = world
        self.proxy = proxy
        self.problems = problems
        self.clusters: dict[str, Obj] = {}

    def filters(self) -> list[Obj]:
        """The filter; none where no rule holds for the workload."""
        chosen = rules(self.world, self.proxy)
        if not chosen:
            return []
        providers = {f"origins-{i}": self._provider(obj, rule) for i, (obj, rule) in enumerate(chosen)}
        tolerant: list[Obj] = [
            {"requires_any": {"requirements": [{"provider_name": name}, {"allow_missing": {}}]}}
            for name in providers
        ]
        requires = tolerant[0]
        if len(tolerant) > 1:
            strict: list[Obj] = [{"provider_name": name} for name in providers]
            requires = {
                "requires_any": {"requirements": [*strict, {"requires_all": {"requirements": tolerant}}]}
            }
        config = typed(
            _FILTER,
            providers=providers,
            rules=[{"match": {"prefix": "/"}, "requires": requires}],
            bypass_cors_preflight=True,
        )
        return [{"name": JWT, "typed_config": config}]

    def _provider(self, obj: Obj, rule: Mapping[str, Any]) -> Obj:
        claims = sorted({"permission", "scope", *(rule.get("spaceDelimitedClaims") or [])})
        provider = present(
            issuer=rule.get("issuer") or None,
            audiences=rule.get("audiences") or None,
            forward=rule.get("forwardOriginalToken"),
            forward_payload_header=rule.get("outputPayloadToHeader") or None,
            payload_in_metadata="payload",
            normalize_payload_in_metadata={"space_delimited_claims": claims},
            from_headers=[
                present(name=item["name"], value_prefix=item.get("prefix") or None)
                for item in rule.get("fromHeaders") or []
            ]
            or None,
            from_params=rule.get("fromParams") or None,
            from_cookies=rule.get("fromCookies") or None,
            claim_to_headers=[
                {"header_name": item["header"], "claim_name": item["claim"]}
                for item in rule.get("outputClaimToHeaders") or []
            ]
            or None,
            # Only at a gateway may routes look at claims.
            clear_route_cache=True if self.proxy.role == "router" else None,
        )
        return {**provider, **self._keys(obj, rule)}

    def _keys(self, obj: Obj, rule: Mapping[str, Any]) -> Obj:
        if rule.get("jwks"):
            return {"local_jwks": {"inline_string": rule["jwks"]}}
        address = rule.get("jwksUri") or rule.get("jwks_uri")
        if not address:
            self.problems.append(Problem(describe(obj), "neither jwks nor jwksUri: every token is refused"))
            return {"local_jwks": {"inline_string": NO_KEYS}}
        cluster = self._cluster(obj, address)
        if cluster is None:
            return {"local_jwks": {"inline_string": NO_KEYS}}
        timeout = durations.proto(rule["timeout"]) if rule.get("timeout") else "5s"
        return {
            "remote_jwks": {
                "http_uri": {"uri": address, "cluster": cluster, "timeout": timeout},
                "cache_duration": "300s",
                # The set is there before the first request, as istiod would have it.
                "async_fetch": {"fast_listener": True},
            }
        }

    def _cluster(self, obj: Obj, address: str) -> str | None:
        """The cluster of a key set's server: a service of the mesh, else one made for the address."""
        parts = urlsplit(address)
        hostname = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        known = cluster_of(self.world, {"service": hostname, "port": port})
        if known is not None and any(
            s.port(port) for s in services.by_hostname(self.world).get(known[0], [])
        ):
            return known[1]
        if parts.scheme == "https":
            text = f"jwksUri {address}: https works only through a service of the mesh; tokens are refused"
            self.problems.append(Problem(describe(obj), text))
            return None
        name = f"jwks|{port}||{hostname}"
        target = endpoints.address(hostname, port)
        self.clusters[name] = {
            "name": name,
            "type": "STRICT_DNS",
            "dns_lookup_family": "V4_ONLY",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": target}}]}],
            },
        }
        return name
