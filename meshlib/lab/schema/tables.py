"""Which schema a kind has, wherever it comes from."""

from __future__ import annotations

from functools import cache

from . import openapi
from .istio import PREFIX, istio_definition, istio_definition_name
from .model import KindRef
from .nodes import REF_PREFIX, Node


def definition(name: str) -> Node:
    """The schema of that full name; KeyError when there is none."""
    return istio_definition(name) if name.startswith(PREFIX) else openapi.definition(name)


def resolve(node: Node) -> Node:
    """What a node refers to, or the node itself."""
    return _referred(node.ref) if node.ref else node


@cache
def _referred(ref: str) -> Node:
    return definition(ref.removeprefix(REF_PREFIX))


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
