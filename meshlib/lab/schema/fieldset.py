"""Sets of field paths as `managedFields` has them (FieldsV1), and what an object or a change touches.

A path is a tuple of FieldsV1 elements: `f:spec`, `k:{"name":"till"}` for an entry of a keyed list, `v:"x"`
for an entry of a set. The rules (what is a leaf, which containers count as fields of their own) are those
of sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .model import Obj
from .nodes import INT_OR_STRING, QUANTITY, Node
from .tables import resolve

Path = tuple[str, ...]
FieldSet = frozenset[Path]
KEY_DEFAULTS = {"protocol": "TCP"}
"""Fields that may be left out though they are part of a list's key, with what they then count as."""


def from_fields_v1(tree: Obj) -> FieldSet:
    return frozenset(_paths(tree, ()))


def _paths(tree: Obj, at: Path) -> Iterator[Path]:
    for key, inner in tree.items():
        if key == ".":
            yield at
        elif inner:
            yield from _paths(inner, (*at, key))
        else:
            yield (*at, key)


def to_fields_v1(paths: Iterable[Path]) -> Obj:
    tree: Obj = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _compact(tree)


def _compact(tree: Obj) -> Obj:
    """A leaf is `{}`; only a field that also has inner fields says so with `.`."""
    if set(tree) <= {"."}:
        return {}
    return {key: {} if key == "." else _compact(inner) for key, inner in tree.items()}


def granular(node: Node) -> str:
    """How ownership goes into a value: `map`, `list` (keyed), `set`, or "" for a field owned as a whole."""
    if node.definition in (INT_OR_STRING, QUANTITY):
        return ""
    target = resolve(node)
    if target.kind == "array" or node.list_type:
        if node.list_type == "map" and node.list_keys:
            return "list"
        return "set" if node.list_type == "set" else ""
    if "atomic" in (node.map_type, target.map_type) or target.kind not in ("object", ""):
        return ""
    return "map"


def child(node: Node, key: str) -> tuple[Node, bool]:
    """The schema of a map's field, and whether the schema names that field."""
    target = resolve(node)
    if target.properties and key in target.properties:
        return target.properties[key], True
    return target.values or Node(), False


def element(node: Node, entry: Any) -> str:
    """The path element of a list's entry."""
    if node.list_type == "set":
        return "v:" + _json(entry)
    keys = {}
    for key in node.list_keys:
        value = entry.get(key, KEY_DEFAULTS.get(key)) if isinstance(entry, dict) else None
        if value is not None:
            keys[key] = value
    return "k:" + _json(dict(sorted(keys.items())))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def fields_of(node: Node, value: Any, at: Path = ()) -> Iterator[Path]:
    """The paths that an applied configuration owns."""
    how = granular(node)
    if how == "map" and isinstance(value, dict):
        for key, each in value.items():
            inner, named = child(node, key)
            path = (*at, f"f:{key}")
            yield from fields_of(inner, each, path)
            if not named or each is None or each == {}:
                yield path
    elif how in ("list", "set") and isinstance(value, list):
        for entry in value:
            path = (*at, element(node, entry))
            yield path
            if how == "list":
                yield from fields_of(node.items or Node(), entry, path)
    elif at:
        yield at


def undeclared(node: Node, value: Any, at: Path = ()) -> Iterator[Path]:
    """The fields of a value that its schema does not have."""
    target = resolve(node)
    if isinstance(value, dict):
        closed = target.properties is not None and target.values is None and not target.open
        for key, each in value.items():
            inner, named = child(node, key)
            path = (*at, f"f:{key}")
            if closed and not named:
                yield path
            else:
                yield from undeclared(inner, each, path)
    elif isinstance(value, list) and target.items is not None:
        for index, entry in enumerate(value):
            part = element(node, entry) if node.list_type == "map" else f"i:{index}"
            yield from undeclared(target.items, entry, (*at, part))


class Change(NamedTuple):
    """What differs between two objects: paths that came or differ, and paths that went."""

    written: set[Path]
    removed: set[Path]


_ABSENT: Any = object()


def compare(node: Node, old: Any, new: Any) -> Change:
    change = Change(set(), set())
    _compare(node, old, new, (), change)
    return change


def _compare(node: Node, old: Any, new: Any, at: Path, change: Change) -> None:
    how = granular(node)
    empty = all(value is _ABSENT or value is None or value in ({}, []) for value in (old, new))
    container = dict if how == "map" else list
    fits = all(value is _ABSENT or value is None or isinstance(value, container) for value in (old, new))
    if not how or empty or not fits:
        if at and (old is _ABSENT or new is _ABSENT or old != new):
            (change.removed if new is _ABSENT else change.written).add(at)
        return
    if at and old is _ABSENT:
        change.written.add(at)
    elif at and new is _ABSENT:
        change.removed.add(at)
    for key, (inner, before, after) in _children(node, how, old, new).items():
        if before is not after:
            _compare(inner, before, after, (*at, key), change)


def _children(node: Node, how: str, old: Any, new: Any) -> dict[str, tuple[Node, Any, Any]]:
    found: dict[str, tuple[Node, Any, Any]] = {}
    if how == "map":
        before, after = (value if isinstance(value, dict) else {} for value in (old, new))
        for key in {**before, **after}:
            found[f"f:{key}"] = (child(node, key)[0], before.get(key, _ABSENT), after.get(key, _ABSENT))
        return found
    inner = (node.items or Node()) if how == "list" else Node(type="string")
    for entry in old if isinstance(old, list) else ():
        found[element(node, entry)] = (inner, entry, _ABSENT)
    for entry in new if isinstance(new, list) else ():
        key = element(node, entry)
        found[key] = (inner, found[key][1] if key in found else _ABSENT, entry)
    return found


def show(path: Path) -> str:
    """A path as conflicts print it: `.spec.containers[name="till"].image`."""
    text = ""
    for part in path:
        kind, rest = part[:2], part[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            text += "[" + ",".join(f"{key}={_json(value)}" for key, value in json.loads(rest).items()) + "]"
        elif kind == "i:":
            text += f"[{rest}]"
        else:
            text += f"[={rest}]"
    return text
