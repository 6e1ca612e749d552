"""Strategic merge patch: lists merge by the key that the schema names, and `$` directives steer it.

The rules are those of the Kubernetes strategic-merge-patch document: `$patch: replace|delete|merge`,
`$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`. Entries that only the patch has
come first, as the API server puts them.
"""

from __future__ import annotations

import copy
from typing import Any

from .model import KindRef, Obj, PatchError
from .nodes import Node
from .openapi import definition_name
from .tables import definition, resolve

PATCH = "$patch"
RETAIN = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"
_ANYTHING = Node()


def strategic_merge_patch(kind: KindRef, obj: Obj, patch: Any) -> Obj:
    """The object after the patch; PatchError 415 for custom resources, 400 for a bad directive."""
    name = definition_name(kind)
    if name is None:
        raise PatchError(
            415,
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            "UnsupportedMediaType",
        )
    if not isinstance(patch, dict):
        raise PatchError(400, "json: cannot unmarshal into Go value of type map[string]interface {}")
    return _merge_map(obj, patch, definition(name))


def _merge_map(old: Obj, patch: Obj, node: Node) -> Obj:
    directive = patch.get(PATCH)
    if directive == "replace":
        fresh: Obj = _without_directives(patch)
        return fresh
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(400, f"Unknown patch type found: {directive}")
    result: Obj = dict(old)
    retain = patch.get(RETAIN)
    if retain is not None:
        _check_retained(patch, retain)
        result = {key: value for key, value in result.items() if key in retain}
    for key in (key for key in patch if key.startswith(DELETE_FROM)):
        field, gone = key.removeprefix(DELETE_FROM), patch[key]
        if not isinstance(gone, list):
            raise PatchError(400, f"expected a list in {key}")
        if isinstance(result.get(field), list):
            result[field] = [each for each in result[field] if each not in gone]
    for key, value in patch.items():
        if key in (PATCH, RETAIN) or key.startswith((DELETE_FROM, ORDER)):
            continue
        if value is None:
            result.pop(key, None)
            continue
        result[key] = _merge_value(result.get(key), value, field_node(node, key), patch.get(ORDER + key))
    for key in (key for key in patch if key.startswith(ORDER)):
        field = key.removeprefix(ORDER)
        if field not in patch and isinstance(result.get(field), list):
            result[field] = _ordered(result[field], patch[key], field_node(node, field), result[field])
    return result


def field_node(node: Node, key: str) -> Node:
    """The schema of a field or of a map's value, without resolving it; a schema of anything when unknown."""
    target = resolve(node)
    if target.properties and key in target.properties:
        return target.properties[key]
    return target.values or _ANYTHING


def _check_retained(patch: Obj, retain: Any) -> None:
    if not isinstance(retain, list):
        raise PatchError(400, f"invalid type for {RETAIN}: expected a list")
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in retain:
            raise PatchError(400, f"{RETAIN} directive must contain all present fields")


def _merge_value(old: Any, new: Any, node: Node, order: Any) -> Any:
    if isinstance(new, dict):
        if "replace" in node.patch_strategy and not isinstance(old, dict):
            return _without_directives(new)
        return _merge_map(old if isinstance(old, dict) else {}, new, node)
    if isinstance(new, list):
        if not (isinstance(old, list) or order is not None) or "merge" not in node.patch_strategy:
            return _without_directives(new)
        return _merge_list(old if isinstance(old, list) else [], new, node, order)
    return new


def _merge_list(old: list[Any], new: list[Any], node: Node, order: Any) -> list[Any]:
    if node.merge_key is None:
        merged = [*old, *(each for each in new if each not in old)]
        return _ordered(_ordered(merged, new, node, old), order, node, old)
    key, item = node.merge_key, node.items or _ANYTHING
    if any(isinstance(entry, dict) and entry.get(PATCH) == "replace" for entry in new):
        return [
            _without_directives(entry)
            for entry in new
            if not (isinstance(entry, dict) and entry.get(PATCH) == "replace")
        ]
    result = list(old)
    kept: list[Obj] = []
    for entry in new:
        if not isinstance(entry, dict):
            raise PatchError(400, f"expected an object in the list, found {entry!r}")
        if key not in entry:
            if entry.get(PATCH) == "delete":
                result = []
                continue
            raise PatchError(400, f"map: {go_map(entry)} does not contain declared merge key: {key}")
        if entry.get(PATCH) == "delete":
            result = [each for each in result if not _has(each, key, entry[key])]
            continue
        kept.append(entry)
        at = next((i for i, each in enumerate(result) if _has(each, key, entry[key])), None)
        if at is None:
            result.append(_merge_map({}, entry, item))
        else:
            result[at] = _merge_map(result[at], entry, item)
    return _ordered(_ordered(result, kept, node, old), order, node, old)


def _has(entry: Any, key: str, value: Any) -> bool:
    return isinstance(entry, dict) and key in entry and entry[key] == value


def _ordered(merged: list[Any], order: Any, node: Node, old: list[Any]) -> list[Any]:
    """The entries that `order` names in its order, the others put among them as they stood in the old list.

    An entry goes before the first one of the named that it preceded in the old list; one that the old list
    did not have comes before all that it cannot be compared with. So new entries come first. None orders
    nothing.
    """
    if order is None:
        return merged
    if not isinstance(order, list):
        raise PatchError(400, f"{ORDER} must be a list")
    key = node.merge_key

    def identity(entry: Any) -> str:
        return repr(entry.get(key)) if key is not None and isinstance(entry, dict) else repr(entry)

    wanted = {identity(entry): position for position, entry in reversed(list(enumerate(order)))}
    before = {identity(entry): position for position, entry in reversed(list(enumerate(old)))}
    named = [each for each in merged if identity(each) in wanted]
    named.sort(key=lambda each: wanted[identity(each)])
    others = [each for each in merged if identity(each) not in wanted]
    others.sort(key=lambda each: before.get(identity(each), len(old)))
    result: list[Any] = []
    for entry in named:
        place = before.get(identity(entry))
        while others and place is not None and before.get(identity(others[0]), len(old)) < place:
            result.append(others.pop(0))
        result.append(entry)
    return [*result, *others]


def _without_directives(value: Any) -> Any:
    """A value that only the patch has: copied, its directives taken out and its nulls dropped."""
    if isinstance(value, dict):
        return {
            key: _without_directives(each)
            for key, each in value.items()
            if each is not None and not key.startswith("$")
        }
    if isinstance(value, list):
        return [
            _without_directives(each)
            for each in value
            if not (isinstance(each, dict) and each.get(PATCH) == "delete")
        ]
    return copy.deepcopy(value)


def go_map(value: Any) -> str:
    """A value as Go prints it: `map[spec:map[replicas:two]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_map(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_map, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
