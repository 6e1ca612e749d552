"""The proxies among the pods: every pod with an `istio-proxy` container of the image `istio/proxyv2`.

Since Istio 1.27 a sidecar is an init container that never ends, so both lists are searched (istio-facts
A4).
"""

from __future__ import annotations

import json
from typing import Any, Literal

import yaml

from meshlib.lab.istiod.minors import minor_of_image
from meshlib.lab.istiod.translate.model import INSIDE, PORTS, Obj, Of, Proxy
from meshlib.lab.istiod.translate.world import World

CONTAINER = "istio-proxy"
REPOSITORY = "istio/proxyv2"


def proxies(world: World) -> list[Proxy]:
    """Every proxy whose pod has an address, by namespace and name."""

    def build() -> list[Proxy]:
        found = [p for p in (_proxy(world, pod) for pod in world.all("Pod")) if p is not None]
        live = {proxy.uid for proxy in found}
        world.forget(lambda key: not isinstance(key, Of) or key.uid in live)
        return sorted(found, key=lambda p: (p.namespace, p.name))

    return world.memo("proxies", ("Pod",), build)


def _proxy(world: World, pod: Obj) -> Proxy | None:
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    applications = spec.get("containers") or []
    everything = [*applications, *(spec.get("initContainers") or [])]
    container = next((c for c in everything if c.get("name") == CONTAINER), None)
    if container is None or not _is_proxy(container.get("image", "")) or not status.get("podIP"):
        return None
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    annotations = meta.get("annotations") or {}
    role = _role(container, applications)
    others = [c for c in applications if c.get("name") != CONTAINER]
    ports = [port for c in others for port in c.get("ports") or [] if port.get("protocol", "TCP") == "TCP"]
    own = list(container.get("ports") or [])
    labels = meta.get("labels") or {}
    return Proxy(
        role=role,
        uid=meta.get("uid", ""),
        name=meta["name"],
        namespace=meta["namespace"],
        address=status["podIP"],
        inside=annotations.get(INSIDE) or status["podIP"],
        labels=labels,
        ports={int(key): value for key, value in json.loads(annotations.get(PORTS) or "{}").items()},
        service_account=spec.get("serviceAccountName") or "default",
        container_ports=tuple(dict.fromkeys(port["containerPort"] for port in ports)),
        service_cluster=_service_cluster(pod, labels),
        config=_config(annotations.get("proxy.istio.io/config", "")),
        minor=minor_of_image(container.get("image", ""), world.default_minor),
        node=status.get("hostIP", ""),
        named_ports={port["name"]: port["containerPort"] for port in [*ports, *own] if port.get("name")},
        own_ports=tuple(port["containerPort"] for port in own) if role == "sidecar" else (),
    )


def _is_proxy(image: str) -> bool:
    repository = image.partition("@")[0]
    head, slash, tail = repository.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}".endswith(REPOSITORY)


def _role(container: Obj, applications: list[Obj]) -> Literal["router", "sidecar"]:
    """What the container's arguments say (`proxy router`, `proxy sidecar`); without them, whether it is
    alone.
    """
    words = [str(word) for word in [*(container.get("command") or []), *(container.get("args") or [])]]
    for word in words:
        if word in ("router", "sidecar"):
            return "router" if word == "router" else "sidecar"
    alone = [c.get("name") for c in applications] == [CONTAINER]
    return "router" if alone else "sidecar"


def _service_cluster(pod: Obj, labels: dict[str, str]) -> str:
    """`<app label>.<namespace>`, else the workload's name, else `istio-proxy` (istio-facts C8)."""
    namespace = pod["metadata"]["namespace"]
    if app := labels.get("app"):
        return f"{app}.{namespace}"
    owner = next((o for o in pod["metadata"].get("ownerReferences") or [] if o.get("controller")), None)
    if owner is None:
        return f"istio-proxy.{namespace}"
    name = str(owner["name"])
    if owner.get("kind") == "ReplicaSet":
        name = name.rpartition("-")[0] or name
    return f"{name}.{namespace}"


def _config(text: str) -> dict[str, Any]:
    """The pod's own proxy configuration; what is no YAML mapping is as if it were not there, as in
    pilot-agent.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
