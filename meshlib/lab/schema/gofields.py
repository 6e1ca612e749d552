"""What Kubernetes' Go types do to an object that passes through them: which zeros go, which always stand.

The API server decodes every built-in object into a Go struct and encodes it again. Nulls vanish by that,
empty values of most fields too, and a few fields appear although nobody wrote them (`status: {}`,
`resources: {}`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from . import openapi
from .model import KindRef, Obj
from .nodes import INT_OR_STRING, META, QUANTITY, Node
from .quantity import canonical_quantity
from .tables import resolve

API = "io.k8s.api."
_EMPTY: tuple[Any, ...] = ("", 0, False, None, [], {})


class Field(NamedTuple):
    """One field: its protobuf number, its mark (see go_fields.yaml), its JSON name or the inlined type's
    name.
    """

    number: int
    mark: str
    name: str


@cache
def _lines() -> dict[str, str]:
    found = {}
    for line in Path(__file__).with_name("go_fields.yaml").read_text().splitlines():
        name, _, fields = line.partition(": ")
        if not line.startswith("#"):
            found[(META.removesuffix("meta.v1.") if name.startswith("meta.") else API) + name] = fields
    return found


def known(name: str) -> bool:
    """Whether the table has the type of that full name."""
    return name in _lines()


def names() -> list[str]:
    """The full names of all types of the table."""
    return list(_lines())


@cache
def fields(name: str) -> tuple[Field, ...]:
    """The fields of a type by its full name; KeyError when the table has none."""
    package = name.rpartition(".")[0]
    found = []
    for word in _lines()[name].split():
        at = next(i for i, c in enumerate(word) if not c.isdigit())
        mark, field = word[at], word[at + 1 :]
        found.append(Field(int(word[:at]), mark, f"{package}.{field}" if mark == "*" else field))
    return tuple(found)


@cache
def json_fields(name: str) -> dict[str, Field]:
    """The fields of a type by JSON name, those of inlined types among them."""
    return {field.name: field for field in _flat(name)}


def _flat(name: str) -> Iterator[Field]:
    for field in fields(name):
        if field.mark == "*":
            yield from _flat(field.name)
        else:
            yield field


def canonical(kind: KindRef, obj: Obj) -> None:
    """Make the object, in place, what it is after it was decoded into its Go type; custom resources:
    metadata only.
    """
    name = openapi.definition_name(kind)
    if name is not None:
        _canonical(openapi.definition(name), name, obj)
    elif isinstance(obj.get("metadata"), dict):
        _canonical(openapi.definition(META + "ObjectMeta"), META + "ObjectMeta", obj["metadata"])


def _canonical(node: Node, name: str, obj: Obj) -> None:
    marks = json_fields(name) if known(name) else {}
    properties = node.properties or {}
    for key in list(obj):
        inner = properties.get(key)
        if inner is None:
            continue
        mark = marks[key].mark if key in marks else ""
        value = _value(inner, obj[key])
        if (mark == "=" and any(value is each or value == each for each in _EMPTY)) or (
            value is None and mark != "!"
        ):
            del obj[key]
        else:
            obj[key] = value
    for key, field in marks.items():
        if field.mark == "!" and obj.get(key) is None and key in properties:
            obj[key] = _zero(properties[key])


def _value(node: Node, value: Any) -> Any:
    if node.definition == QUANTITY:
        return canonical_quantity(value)
    target = resolve(node)
    if isinstance(value, dict) and target.properties is not None:
        _canonical(target, node.definition, value)
    elif isinstance(value, dict) and target.values is not None:
        zero = {"string": "", "integer": 0, "boolean": False}.get(target.values.kind)
        return {key: zero if each is None else _value(target.values, each) for key, each in value.items()}
    elif isinstance(value, list) and target.items is not None:
        return [_value(target.items, {} if each is None and target.items.ref else each) for each in value]
    return value


def _zero(node: Node) -> Any:
    if node.definition == INT_OR_STRING:
        return 0
    target = resolve(node)
    if target.kind == "object" and target.values is None:
        made: Obj = {}
        if target.properties is not None:
            _canonical(target, node.definition, made)
        return made
    zeros: dict[str, Any] = {"string": None if target.format == "date-time" else "", "boolean": False}
    return zeros.get(target.kind, 0 if target.kind in ("integer", "number") else None)


def zero(kind: KindRef) -> Obj:
    """The object that a create adds its fields to: for a built-in what always stands, for others nothing."""
    name = openapi.definition_name(kind)
    if name is None:
        return {}
    made: Obj = {}
    _canonical(openapi.definition(name), name, made)
    return made
