"""Custom resources against their schema, as the API server checks them: structure first, then the rules
(CEL).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from . import findings as say
from .crd_rules import MESSAGES, RULES, Broken
from .model import Finding, Obj
from .nodes import META, Node
from .tables import resolve

_BLOCKING = ("NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid")
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors "
    "to complete validation"
)


def validate_custom(root: Node, obj: Obj, *, blocked: bool = False) -> list[Finding]:
    """All findings on the `spec` and `status` of a custom resource; of the rules only when the structure is
    sound.
    """
    found = list(structure(root, obj))
    if blocked or any(each.reason.removeprefix("FieldValue") in _BLOCKING for each in found):
        return [*found, say.invalid("", None, _NOT_CHECKED)]
    return [*found, *_rules(root, obj, "")]


def structure(root: Node, obj: Obj) -> Iterator[Finding]:
    """The findings of the schema alone, without the rules."""
    yield from _structure(root, obj, "")


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _structure(node: Node, value: Any, path: str) -> Iterator[Finding]:
    if node.definition.startswith(META):
        return  # metadata is checked as everywhere else
    target = resolve(node)
    actual, expected = _type(value), target.kind
    allowed = ("integer", "string") if target.int_or_string else (expected,)
    fits = actual in allowed or (actual == "integer" and expected == "number")
    if value is None and target.nullable:
        return
    if not fits and any(allowed):
        wanted = ",".join(allowed)
        yield say.type_invalid(path, actual, f'{path} in body must be of type {wanted}: "{actual}"')
    if target.enum and value not in target.enum:
        yield say.not_supported(path, value, target.enum)
    if not fits:
        return
    match value:
        case str():
            yield from _text(target, value, path)
        case bool():
            return
        case int() | float():
            if target.minimum is not None and value < target.minimum:
                limit = f"{path} in body should be greater than or equal to {target.minimum}"
                yield say.invalid(path, value, limit)
            if target.maximum is not None and value > target.maximum:
                yield say.invalid(
                    path, value, f"{path} in body should be less than or equal to {target.maximum}"
                )
        case list():
            yield from _list(target, value, path)
        case dict():
            yield from _object(target, value, path)


def _text(target: Node, value: str, path: str) -> Iterator[Finding]:
    if target.max_length is not None and len(value) > target.max_length:
        yield say.too_long(path, target.max_length)
    if target.min_length is not None and len(value) < target.min_length:
        yield say.invalid(path, value, f"{path} in body should be at least {target.min_length} chars long")
    if target.pattern is not None and not _compiled(target.pattern).search(value):
        yield say.invalid(path, value, f"{path} in body should match '{target.pattern}'")
    form = _FORMATS.get(target.format or "")
    if form is not None and not form.search(value):
        yield say.type_invalid(
            path, value, f"{path} in body must be of type {target.format}: {say.shown(value)}"
        )


_FORMATS = {
    "byte": re.compile(r"\A([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z"),
    "date-time": re.compile(r"\A\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)\Z"),
}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


def _list(target: Node, value: list[Any], path: str) -> Iterator[Finding]:
    if target.min_items is not None and len(value) < target.min_items:
        yield say.invalid(path, len(value), f"{path} in body should have at least {target.min_items} items")
    if target.max_items is not None and len(value) > target.max_items:
        yield say.too_many(path, len(value), target.max_items)
    seen: list[Any] = []
    for index, each in enumerate(value):
        yield from _structure(target.items or Node(), each, f"{path}[{index}]")
        if target.list_type == "map" and isinstance(each, dict):
            keys = {key: each.get(key) for key in target.list_keys}
            if keys in seen:
                yield say.duplicate(f"{path}[{index}]", keys)
            seen.append(keys)


def _object(target: Node, value: Obj, path: str) -> Iterator[Finding]:
    if target.min_properties is not None and len(value) < target.min_properties:
        limit = f"{path} in body should have at least {target.min_properties} properties"
        yield say.invalid(path, len(value), limit)
    if target.max_properties is not None and len(value) > target.max_properties:
        yield say.too_many(path, len(value), target.max_properties)
    for key, each in value.items():
        inner = (target.properties or {}).get(key) or target.values
        if inner is not None:
            yield from _structure(inner, each, f"{path}.{key}" if path else key)
    for key in target.required:
        if key not in value:
            yield say.required(f"{path}.{key}" if path else key)
    for group in target.one_of:
        count = sum(key in value for key in group)
        if count > 1:
            text = f'"{path}" must validate one and only one schema (oneOf). Found {count} valid alternatives'
            yield say.invalid("", "", text)
            if len(target.one_of) > 1:
                fitting = sum(sum(key in value for key in each) <= 1 for each in target.one_of)
                none = "" if fitting else ". None validated"
                yield say.invalid("", "", f'"{path}" must validate all the schemas (allOf){none}')


def _rules(node: Node, value: Any, path: str) -> Iterator[Finding]:
    target = resolve(node)
    if value is None:
        return
    for name in node.rules or target.rules:
        shown = say.OMIT if isinstance(value, (dict, list)) else value
        try:
            if not RULES[name](value):
                yield say.invalid(path, shown, MESSAGES[name])
        except Broken as error:
            yield say.invalid(path, target.kind, f"{error} evaluating rule: {MESSAGES[name]}")
    if isinstance(value, list) and target.items is not None:
        for index, each in enumerate(value):
            yield from _rules(target.items, each, f"{path}[{index}]")
    elif isinstance(value, dict) and not node.definition.startswith(META):
        for key, each in value.items():
            inner = (target.properties or {}).get(key)
            if inner is not None:
                yield from _rules(inner, each, f"{path}.{key}" if path else key)
            elif target.values is not None:
                yield from _rules(target.values, each, f"{path}[{key}]")
