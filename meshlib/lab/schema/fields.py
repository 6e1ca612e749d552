"""Unknown and duplicated fields, and values of the wrong type, in the words of the API server's decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .model import KindRef, Obj
from .nodes import Node
from .tables import builtin, resolve, schema


def check_fields(kind: KindRef, obj: Obj) -> list[str]:
    """`unknown field "spec.foo"` for every field that the kind does not have: in the order of the object,
    for custom resources sorted.
    """
    root = schema(kind)
    found = [f'unknown field "{path}"' for path, _, _ in _unknown(root, obj, "")] if root else []
    return found if builtin(kind) else sorted(found)


def prune(kind: KindRef, obj: Obj) -> None:
    """Drop every field that the kind does not have, in place."""
    root = schema(kind)
    if root:
        for _, parent, key in list(_unknown(root, obj, "")):
            del parent[key]


def _unknown(node: Node, value: Any, path: str) -> Iterator[tuple[str, Obj, str]]:
    target = resolve(node)
    if isinstance(value, dict):
        for key, each in value.items():
            inner = f"{path}.{key}" if path else key
            if target.properties and key in target.properties:
                yield from _unknown(target.properties[key], each, inner)
            elif target.values:
                yield from _unknown(target.values, each, inner)
            elif target.properties is not None and not target.open:
                yield inner, value, key
    elif isinstance(value, list) and target.items:
        for index, each in enumerate(value):
            yield from _unknown(target.items, each, f"{path}[{index}]")


class _Pairs(list[tuple[str, Any]]):
    """An object of the body with its keys as they came, repeated ones included."""


def duplicate_keys(body: bytes) -> list[str]:
    """`duplicate field "data.a"` for every key that the JSON body has twice; [] for what is no JSON."""
    try:
        tree = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(f'duplicate field "{path}"' for path in _duplicates(tree, "")))


def _duplicates(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, each in value:
            inner = f"{path}.{key}" if path else key
            if key in seen:
                yield inner
            seen.add(key)
            yield from _duplicates(each, inner)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _duplicates(each, f"{path}[{index}]")
