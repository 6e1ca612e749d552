"""The schemas of Istio's kinds, from the table `istio_kinds.yaml`.

The table says what the CustomResourceDefinitions of Istio say, in a shorter notation. A field is a word
(`string`, `integer`, `number`, `boolean`, `object`, `any`, `int_or_string`, `uint32`, `int32`, `duration`,
or the name of a type of the table), `[T]` for a list, or a mapping with `is`, `list` or `map` and its
limits.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from .model import KindRef, Obj
from .nodes import META, REF_PREFIX, Node

PREFIX = "io.istio."
_WORDS: dict[str, Obj] = {
    "any": {"x-kubernetes-preserve-unknown-fields": True, "type": "object"},
    "int_or_string": {"x-kubernetes-int-or-string": True},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "int32": {"type": "integer", "format": "int32"},
    "duration": {"type": "string", "rules": ["duration"]},
}
_SCALARS = ("string", "integer", "number", "boolean", "object")
_LIMITS = {
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "list_type": "x-kubernetes-list-type",
    "list_keys": "x-kubernetes-list-map-keys",
    "open": "x-kubernetes-preserve-unknown-fields",
}


@cache
def table() -> Obj:
    """The table as it is on disk: `kinds` and `types`."""
    text = Path(__file__).with_name("istio_kinds.yaml").read_text()
    loaded: Obj = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def istio_kinds() -> list[KindRef]:
    """Every kind of the table in every version that is served."""
    return [
        KindRef(row["group"], version, kind)
        for kind, row in table()["kinds"].items()
        for version in row["versions"]
    ]


@cache
def istio_definition_name(kind: KindRef) -> str | None:
    """The name of the schema of an Istio kind, None for any other; all versions of a kind share one."""
    row = table()["kinds"].get(kind.kind)
    if row is None or row["group"] != kind.group or kind.version not in row["versions"]:
        return None
    return PREFIX + kind.kind


@cache
def istio_definition(name: str) -> Node:
    """The schema named `io.istio.<kind or type>`; KeyError when the table has none."""
    short = name.removeprefix(PREFIX)
    row = table()["kinds"].get(short)
    if row is None:
        return msgspec.convert(_type(table()["types"][short]), Node)
    fields = {"apiVersion": "string", "kind": "string", "spec": row["spec"], "status": row["status"]}
    root = _type({"fields": fields, "required": row.get("required", [])})
    root["properties"]["metadata"] = {"$ref": f"{REF_PREFIX}{META}ObjectMeta"}
    return msgspec.convert(root, Node)


def _type(row: Obj) -> Obj:
    made = {_LIMITS.get(key, key): value for key, value in row.items() if key != "fields"}
    return {
        "type": "object",
        "properties": {key: _field(each) for key, each in row["fields"].items()},
        **made,
    }


def _field(row: Any) -> Obj:
    if isinstance(row, list):
        return {"type": "array", "items": _field(row[0])}
    if isinstance(row, str):
        if row in _WORDS:
            return _WORDS[row]
        return {"type": row} if row in _SCALARS else {"$ref": f"{REF_PREFIX}{PREFIX}{row}"}
    limits = {_LIMITS.get(key, key): value for key, value in row.items() if key not in ("is", "list", "map")}
    if "list" in row:
        return {"type": "array", "items": _field(row["list"]), **limits}
    if "map" in row:
        return {"type": "object", "additionalProperties": _field(row["map"]), **limits}
    return {**_field(row["is"]), **limits}
