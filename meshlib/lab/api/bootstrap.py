"""The objects that every cluster has from the start."""

from __future__ import annotations

from .errors import StatusError
from .registry import Registry
from .store import Obj

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
MANAGER = "kube-apiserver"


async def bootstrap(registry: Registry) -> None:
    """Create what is missing: the four namespaces."""
    for name in NAMESPACES:
        await _ensure(registry, "namespaces", None, {"metadata": {"name": name}})


async def _ensure(registry: Registry, resource: str, namespace: str | None, obj: Obj) -> None:
    try:
        registry.get(resource, namespace, obj["metadata"]["name"])
    except StatusError as error:
        if error.status != 404:
            raise
        await registry.create(resource, namespace, obj, manager=MANAGER)
