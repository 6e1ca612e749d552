"""Which Telemetry objects hold for a proxy, and the providers that they name.

Source: istio/istio pilot/pkg/model/telemetry.go; istio-facts C8, D: root namespace, then namespace, then
workload,
the later over the earlier; of objects without selector only the oldest of a namespace counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from meshlib.lab.istiod.translate import names, services
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Of, Proxy
from meshlib.lab.istiod.translate.world import World

Side = Literal["gateway", "inbound", "outbound"]


def mode_of(side: Side) -> str:
    """The workload mode of a side: a gateway counts as a client."""
    return "SERVER" if side == "inbound" else "CLIENT"


def applicable(world: World, proxy: Proxy) -> list[Obj]:
    """The Telemetry objects for a proxy, the weakest first."""

    def build() -> list[Obj]:
        found: list[Obj] = []
        for namespace in dict.fromkeys((world.root_namespace, proxy.namespace)):
            found += [item for item in _of(world, namespace) if not _labels(item)][:1]
        for item in _of(world, proxy.namespace):
            labels = _labels(item)
            if labels and all(proxy.labels.get(key) == value for key, value in labels.items()):
                found.append(item)
                break
        return found

    labels = tuple(sorted(proxy.labels.items()))
    return world.memo(Of(proxy.uid, ("telemetry",)), ("Telemetry",), build, labels)


def _of(world: World, namespace: str) -> list[Obj]:
    return [item for item in world.all("Telemetry") if item["metadata"]["namespace"] == namespace]


def _labels(item: Obj) -> dict[str, str]:
    return (item.get("spec", {}).get("selector") or {}).get("matchLabels") or {}


def provider(world: World, name: str) -> Mapping[str, Any] | None:
    """An extension provider of the mesh configuration by name, in any case of letters."""
    for known, found in mesh_config(world).providers.items():
        if known.lower() == name.lower():
            return found
    return None


def provider_names(item: Mapping[str, Any]) -> list[str]:
    return [str(found["name"]) for found in item.get("providers") or []]


def cluster_of(world: World, settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """The host name and cluster of a provider's service and port; None where there is no such service.

    A provider may name its service `<namespace>/<host>`; a short name is not completed.
    """
    text = str(settings.get("service", ""))
    namespace, _, hostname = text.rpartition("/")
    found = services.by_hostname(world).get(hostname) or services.by_hostname(world).get(
        _full(hostname, world)
    )
    if not found or (namespace and all(service.namespace != namespace for service in found)):
        return None
    full = found[0].hostname
    return full, names.outbound(int(settings.get("port") or 0), full)


def _full(hostname: str, world: World) -> str:
    """`jaeger.ns.svc` and `jaeger.ns` → `jaeger.ns.svc.<domain>`."""
    if hostname.endswith(".svc"):
        return f"{hostname}.{world.domain}"
    return f"{hostname}.svc.{world.domain}" if hostname.count(".") == 1 else hostname
