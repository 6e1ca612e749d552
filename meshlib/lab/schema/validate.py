"""What makes an object invalid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .model import Finding, KindRef, Obj
from .nodes import Node
from .tables import resolve, schema


def validate(kind: KindRef, obj: Obj, *, old: Obj | None = None) -> list[Finding]:
    """What makes the object invalid, on a create or, with `old`, on an update; [] when nothing does."""
    root = schema(kind)
    return list(_required(root, obj, "")) if root else []


def _required(node: Node, value: Any, path: str) -> Iterator[Finding]:
    target = resolve(node)
    if isinstance(value, dict):
        for name in target.required:
            if name not in value:
                yield Finding(f"{path}.{name}" if path else name, "FieldValueRequired", "Required value")
        for key, each in value.items():
            inner = (target.properties or {}).get(key) or target.values
            if inner is not None:
                yield from _required(inner, each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and target.items:
        for index, each in enumerate(value):
            yield from _required(target.items, each, f"{path}[{index}]")
