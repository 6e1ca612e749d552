"""Which schema a kind has, wherever it comes from."""

from __future__ import annotations

from typing import Any

from . import openapi
from .istio import PREFIX, istio_definition, istio_definition_name
from .model import KindRef, Obj
from .nodes import Node


def definition(name: str) -> Node:
    """The schema of that full name; KeyError when there is none."""
    return istio_definition(name) if name.startswith(PREFIX) else openapi.definition(name)


def resolve(node: Node) -> Node:
    """What a node refers to, or the node itself."""
    return definition(node.definition) if node.ref else node


def definition_name(kind: KindRef) -> str | None:
    """The full name of a kind's schema, None for a kind that has none here."""
    return openapi.definition_name(kind) or istio_definition_name(kind)


def schema(kind: KindRef) -> Node | None:
    """The schema of a kind, built-in or Istio's; None for a kind that has none here."""
    name = definition_name(kind)
    return definition(name) if name else None


def builtin(kind: KindRef) -> bool:
    """Whether a kind is one of Kubernetes' own, which decode, patch and fail unlike custom resources."""
    return openapi.definition_name(kind) is not None


ALWAYS_WRITTEN: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "status"),
    "ReplicaSet": ("spec", "status"),
    "DeploymentSpec": ("template", "strategy", "selector"),
    "ReplicaSetSpec": ("template", "selector"),
    "PodTemplateSpec": ("metadata", "spec"),
    "JobSpec": ("template",),
    "PodSpec": ("containers",),
    "Pod": ("spec", "status"),
    "Service": ("spec", "status"),
    "ServiceStatus": ("loadBalancer",),
    "Namespace": ("spec", "status"),
    "Node": ("spec", "status"),
    "Job": ("spec", "status"),
}
"""Fields that the API server's own types always have, so that ownership never names them on a create."""


def zero(kind: KindRef) -> Obj:
    """The empty object of a kind as the API server's types have it, for what a create adds to nothing."""
    name = openapi.definition_name(kind)
    return {"metadata": {}, **_zero(definition(name), kind.kind)} if name else {}


def _zero(node: Node, name: str) -> Obj:
    made: dict[str, Any] = {}
    for field in ALWAYS_WRITTEN.get(name, ()):
        inner = (node.properties or {})[field]
        made[field] = _zero(resolve(inner), inner.definition.rpartition(".")[2]) if inner.definition else None
    return made
