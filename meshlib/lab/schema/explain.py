"""Schemas as OpenAPI v3 components, for `kubectl explain`, `apply` and `diff`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from . import openapi
from .istio import istio_definition_name
from .model import KindRef, Obj
from .nodes import REF_PREFIX, Node
from .tables import definition

COMPONENTS = "#/components/schemas/"


def component_name(kind: KindRef) -> str | None:
    """The name of a kind's component: the definition's for built-in kinds, the reversed group for custom
    ones.
    """
    name = openapi.definition_name(kind)
    if name is None and istio_definition_name(kind) is not None:
        name = ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])
    return name


def components(kinds: Iterable[KindRef]) -> dict[str, Obj]:
    """The schemas of these kinds and of all that they refer to, by component name, made afresh."""
    made: dict[str, Obj] = {}
    wanted: list[str] = []
    for kind in kinds:
        name, custom = component_name(kind), istio_definition_name(kind)
        if name is None:
            continue
        if custom is not None:
            made[name] = _custom(kind, custom, wanted)
        else:
            wanted.append(name)
    while wanted:
        name = wanted.pop()
        if name not in made:
            made[name] = _published(openapi.described(name), wanted)
    return made


def _published(schema: Any, wanted: list[str]) -> Any:
    """A published schema in OpenAPI v3's form, the definitions that it refers to added to `wanted`."""
    if isinstance(schema, list):
        return [_published(each, wanted) for each in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(REF_PREFIX)
        wanted.append(name)
        pointed = {"allOf": [{"$ref": COMPONENTS + name}]}
        return {**pointed, **{key: value for key, value in schema.items() if key != "$ref"}}
    made = {
        key: {field: _published(_nameless(field, each), wanted) for field, each in value.items()}
        if key == "properties"
        else _published(value, wanted)
        for key, value in schema.items()
    }
    if isinstance(made.get("type"), list):
        made["type"] = next((each for each in made["type"] if each != "null"), "string")
    return made


def _nameless(field: str, schema: Any) -> Any:
    """A property without the one value that the schemas allow for apiVersion and kind: the API server
    publishes none.
    """
    if field in ("apiVersion", "kind") and isinstance(schema, dict):
        return {key: value for key, value in schema.items() if key != "enum"}
    return schema


def _custom(kind: KindRef, name: str, wanted: list[str]) -> Obj:
    made = _inline(definition(name), wanted)
    identity = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {**made, "x-kubernetes-group-version-kind": [identity]}


_OWN = ("rules", "one_of", "nullable")
_INNER = ("properties", "items", "values")  # made below, not copied
_WORDS = [
    (each.name, each.encode_name, each.default)
    for each in msgspec.structs.fields(Node)
    if each.name not in (*_OWN, *_INNER)
]


def _inline(node: Node, wanted: list[str]) -> Obj:
    """A schema of the table with its types in place; metadata stays a reference, as the API server has it."""
    if node.definition in openapi.definition_names():
        wanted.append(node.definition)
        return {"allOf": [{"$ref": COMPONENTS + node.definition}]}
    target = definition(node.definition) if node.ref else node
    made: Obj = {
        shown: value for name, shown, default in _WORDS if (value := getattr(target, name)) != default
    }
    if target.properties is not None:
        made["properties"] = {key: _inline(each, wanted) for key, each in sorted(target.properties.items())}
    if target.items is not None:
        made["items"] = _inline(target.items, wanted)
    if target.values is not None:
        made["additionalProperties"] = _inline(target.values, wanted)
    return made
