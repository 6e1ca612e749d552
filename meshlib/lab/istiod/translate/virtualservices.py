"""VirtualServices with their names resolved, by the gateway that they bind to.

Source: istio/istio pilot/pkg/model/virtualservice.go, push_context.go; istio-facts D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshlib.lab.istiod.translate import delegates, hosts
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Problem, describe
from meshlib.lab.istiod.translate.world import World

MESH = "mesh"


@dataclass(frozen=True, eq=False)
class VirtualService:
    """One VirtualService; hosts and destinations are full names, gateways `<namespace>/<name>` or `mesh`.

    exports: the namespaces that see it, `*` for all; empty for none
    http: its routes, those of its delegates among them; problems: which of these are left out
    """

    obj: Obj
    name: str
    namespace: str
    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    exports: frozenset[str]
    domain: str
    http: list[dict[str, Any]]
    problems: tuple[Problem, ...] = ()

    @property
    def tcp(self) -> list[dict[str, Any]]:
        return self.obj["spec"].get("tcp") or []

    @property
    def tls(self) -> list[dict[str, Any]]:
        return self.obj["spec"].get("tls") or []

    def host(self, destination: Mapping[str, Any]) -> str:
        """The full name of a destination's host."""
        return hosts.fqdn(destination.get("host", ""), self.namespace, self.domain)

    def gateway_names(self, given: list[str]) -> list[str]:
        return [gateway_name(name, self.namespace) for name in given]


def gateway_name(name: str, namespace: str) -> str:
    """`web` of namespace shop → `shop/web`; `mesh` and `ns/name` as they are; `web.ns.…` is the old form."""
    if name == MESH or "/" in name:
        return name
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{namespace}/{name}"


def _exports(spec: Mapping[str, Any], namespace: str, default: tuple[str, ...]) -> frozenset[str]:
    given = spec.get("exportTo") or list(default) or ["*"]
    if "*" in given:
        return frozenset({"*"})
    if "~" in given:
        return frozenset()
    return frozenset(namespace if name == "." else name for name in given)


def _all(world: World) -> list[VirtualService]:
    def build() -> list[VirtualService]:
        default = mesh_config(world).export_virtual_services
        listed = [obj for obj in world.all("VirtualService") if obj["spec"].get("hosts")]
        return [_of(world, obj, default) for obj in listed]

    return world.memo("virtual services", ("VirtualService", "ConfigMap"), build)


def _of(world: World, obj: Obj, default: tuple[str, ...]) -> VirtualService:
    meta = obj["metadata"]
    inner = [world.get("VirtualService", *key) for key in delegates.named(obj["spec"], meta["namespace"])]

    def build() -> VirtualService:
        spec, namespace = obj["spec"], meta["namespace"]
        http, problems = _routes(world, obj, default)
        return VirtualService(
            obj=obj,
            name=meta["name"],
            namespace=namespace,
            hosts=tuple(hosts.fqdn(name, namespace, world.domain) for name in spec.get("hosts") or []),
            gateways=tuple(gateway_name(name, namespace) for name in spec.get("gateways") or [MESH]),
            exports=_exports(spec, namespace, default),
            domain=world.domain,
            http=http,
            problems=tuple(problems),
        )

    # One value for one stored object, so that what is built from it can be remembered by identity.
    key = ("virtual service", meta["namespace"], meta["name"])
    return world.memo(key, (), build, Same(obj), default, *(Same(item) for item in inner))


def _routes(world: World, obj: Obj, default: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The HTTP routes of an object, with those of its delegates in the places that name them."""
    spec, namespace = obj["spec"], obj["metadata"]["namespace"]
    if not delegates.is_root(spec):
        return spec.get("http") or [], []
    found: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for route in spec["http"]:
        own = _resolved(route, namespace, world.domain)
        if route.get("delegate") is None:
            found.append(own)
            continue
        ((scope, name),) = delegates.named({"http": [route]}, namespace)
        inner = world.get("VirtualService", scope, name)
        reason = "" if inner and not inner["spec"].get("hosts") else "is not there, or has hosts of its own"
        if inner and not reason and not _exports(inner["spec"], scope, default) & {"*", namespace}:
            reason = f"is not exported to {namespace}"
        if inner is None or reason:
            problems.append(Problem(describe(obj), f"delegate virtual service {scope}/{name} {reason}"))
            continue
        routes = [_resolved(item, scope, world.domain) for item in inner["spec"].get("http") or []]
        merged, ignored = delegates.merge(own, routes)
        found += merged
        problems += [Problem(describe(inner), text) for text in ignored]
    return found, problems


def _resolved(route: dict[str, Any], namespace: str, domain: str) -> dict[str, Any]:
    return delegates.resolved(
        route, lambda name: hosts.fqdn(name, namespace, domain), lambda name: gateway_name(name, namespace)
    )


class Same:
    """Equal only for the very same object: a key for what is built from an object that is never changed."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def for_gateway(world: World, namespace: str, gateway: str) -> list[VirtualService]:
    """What a proxy of `namespace` sees bound to a gateway: private ones, then exported ones, then public
    ones.
    """

    def build() -> dict[str, tuple[list[VirtualService], list[VirtualService], list[VirtualService]]]:
        index: dict[str, tuple[list[VirtualService], list[VirtualService], list[VirtualService]]] = {}
        for found in _all(world):
            for name in dict.fromkeys(found.gateways):
                private, exported, public = index.setdefault(name, ([], [], []))
                if "*" in found.exports:
                    public.append(found)
                elif namespace in found.exports:
                    (private if found.namespace == namespace else exported).append(found)
        return index

    index = world.memo(("by gateway", namespace), ("VirtualService", "ConfigMap"), build)
    private, exported, public = index.get(gateway, ([], [], []))
    return [*private, *exported, *public]
