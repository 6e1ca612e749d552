"""What the API server says of a built-in object that does not decode."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from .model import KindRef, Obj
from .nodes import INT_OR_STRING, QUANTITY, Node
from .patches import json_type
from .tables import builtin, resolve, schema

_QUANTITY = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
_GO = {"string": "string", "boolean": "bool", "int32": "int32", "int64": "int64", "double": "float64"}
_BITS = {"int32": 31, "int64": 63}


def decode_error(kind: KindRef, obj: Obj) -> str | None:
    """The text of the 400 answer to an object with a value of the wrong type, None for one that decodes.

    Custom resources have only their metadata decoded; the rest of them is a matter of their schema (422).
    """
    root = schema(kind)
    if root is None:
        return None
    part = obj if builtin(kind) else {"metadata": obj.get("metadata")}
    first = next(_wrong(root, part, "", kind.kind, ""), None)
    if first is None:
        return None
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {first}'


_SOURCES = {"array": "slice", "object": "map", "number": "float64"}


def conversion_error(kind: KindRef, obj: Obj) -> str | None:
    """What is wrong with the types of a built-in object after a strategic merge patch, None for one that
    converts.

    The API server turns that result into its Go type without going through JSON, and words it differently.
    """
    root = schema(kind)
    return next(_unconverted(root, obj), None) if root is not None and builtin(kind) else None


def _unconverted(node: Node, value: Any) -> Iterator[str]:
    target = resolve(node)
    if value is None or node.definition in (QUANTITY, INT_OR_STRING) or target.format == "date-time":
        return
    expected, actual = target.kind, json_type(value)
    source = _SOURCES.get(actual, actual) if not isinstance(value, int) or actual == "bool" else "int64"
    if expected == "object" and not isinstance(value, dict):
        yield (
            f"cannot restore map from {source}" if target.values else f"cannot restore struct from: {source}"
        )
    elif expected == "array" and not isinstance(value, list):
        yield f"cannot restore slice from {source}"
    elif isinstance(value, dict) and expected == "object":
        for key, each in value.items():
            inner = (target.properties or {}).get(key) or target.values
            if inner is not None:
                yield from _unconverted(inner, each)
    elif isinstance(value, list) and expected == "array":
        for each in value:
            yield from _unconverted(target.items or Node(), each)
    elif (
        expected
        and expected != {"bool": "boolean"}.get(actual, actual)
        and (actual, expected) != ("number", "integer")
    ):
        wanted = _go_type(node)
        if (source, wanted) == ("int64", "string"):
            yield "cannot convert int64 to string"
        else:
            yield f"unrecognized type: {wanted}"


def _wrong(node: Node, value: Any, path: str, struct: str, go: str) -> Iterator[str]:
    """Errors in the document's order; `struct` is the Go struct that has the field, `go` the field's type."""
    target = resolve(node)
    if value is None or (node.definition == QUANTITY and not isinstance(value, (bool, dict, list))):
        if value is not None and not _QUANTITY.match(str(value).strip()):
            yield (
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        return
    if node.definition == INT_OR_STRING:
        if isinstance(value, (bool, dict, list)):
            yield f"json: cannot unmarshal {json_type(value)} into Go value of type int32"
        return
    expected = target.kind
    if expected == "object" and isinstance(value, dict):
        yield from _inside(node, target, value, path, struct)
    elif expected == "array" and isinstance(value, list):
        for each in value:
            yield from _wrong(target.items or Node(), each, path, struct, _go_type(target.items or Node()))
    elif expected == "string" and isinstance(value, str):
        yield from _text(target, value)
    elif expected in ("integer", "number") and type(value) in (int, float):
        bits = _BITS.get(target.format or "", 63)
        if expected == "integer" and (isinstance(value, float) or not -(2**bits) <= value < 2**bits):
            yield _mismatch(f"number {value}", path, struct, go or _go_type(node))
    elif expected and not (expected == "boolean" and isinstance(value, bool)):
        yield _mismatch(json_type(value), path, struct, go or _go_type(node))


def _inside(node: Node, target: Node, value: Obj, path: str, struct: str) -> Iterator[str]:
    owner = node.definition.rpartition(".")[2] or struct
    for key, each in value.items():
        inner = (target.properties or {}).get(key)
        if inner is not None:
            yield from _wrong(inner, each, f"{path}.{key}" if path else key, owner, _go_type(inner))
        elif target.values is not None:
            yield from _wrong(target.values, each, path, struct, _go_type(target.values))


def _text(target: Node, value: str) -> Iterator[str]:
    if target.format == "byte":
        try:
            base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            bad = next((i for i, c in enumerate(value) if not re.match(r"[A-Za-z0-9+/=\r\n]", c)), len(value))
            yield f"illegal base64 data at input byte {bad}"
    elif target.format == "date-time" and not _TIME.match(value):
        yield f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'


def _mismatch(found: str, path: str, struct: str, go: str) -> str:
    if not path:
        return f"json: cannot unmarshal {found} into Go value of type {go}"
    return f"json: cannot unmarshal {found} into Go struct field {struct}.{path} of type {go}"


def _go_type(node: Node) -> str:
    """The Go type of a field: `int32`, `[]v1.Container`, `map[string]string`, `v1.PodSpec`."""
    target = resolve(node)
    if node.ref and target.kind in ("object", ""):
        package, _, name = node.definition.rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}"
    match target.kind:
        case "array":
            return "[]" + _go_type(target.items or Node())
        case "object":
            return f"map[string]{_go_type(target.values)}" if target.values else "map[string]interface {}"
        case "integer" | "number":
            return _GO.get(target.format or "", "int64" if target.kind == "integer" else "float64")
    if target.format == "byte":
        return "[]uint8"
    return _GO.get(target.kind, "interface {}")
