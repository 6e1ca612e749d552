"""Built-in objects against their OpenAPI definitions and the table `builtin_rules.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from . import findings as say
from . import names
from .meta import validate_labels
from .model import Finding, Obj
from .nodes import META, Node
from .tables import resolve

FORMS: dict[str, names.Check] = {
    "dns_label": names.dns_label,
    "dns_subdomain": names.dns_subdomain,
    "qualified_name": names.qualified_name,
    "port_name": names.port_name,
    "environment_variable": names.environment_variable,
    "config_key": names.config_key,
}
_UNCHECKED = ("metadata", "status")
MAX_MODE = 0o777
Rule = dict[str, Any]


@cache
def rules() -> dict[str, dict[str, Rule]]:
    """The table: type → field → its rule."""
    text = Path(__file__).with_name("builtin_rules.yaml").read_text()
    loaded: dict[str, dict[str, Rule]] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def short_name(definition: str) -> str:
    """`core.v1.PodSpec` of `io.k8s.api.core.v1.PodSpec`, `meta.v1.…` of the machinery's."""
    if definition.startswith(META):
        return "meta.v1." + definition.removeprefix(META)
    return definition.removeprefix("io.k8s.api.")


def validate_fields(node: Node, name: str, obj: Obj, path: str = "") -> Iterator[Finding]:
    """Findings of the definition and of the table on an object of the type of that full name, and on all
    inside.
    """
    table = rules().get(short_name(name), {})
    properties = node.properties or {}
    for field in dict.fromkeys([*node.required, *table]):
        rule = table.get(field, {})
        inner = f"{path}.{field}" if path else field
        wanted = rule.get("required") or (field in node.required and not rule.get("optional"))
        if wanted and _empty(properties.get(field), obj.get(field), rule):
            yield say.required(inner, wanted if isinstance(wanted, str) else "")
        elif rule and not (path == "" and field in _UNCHECKED):
            yield from _check(rule, obj.get(field), inner)
    for field, value in obj.items():
        child = properties.get(field)
        if child is not None and not (path == "" and field in _UNCHECKED):
            yield from _descend(child, value, f"{path}.{field}" if path else field)


def _descend(node: Node, value: Any, path: str) -> Iterator[Finding]:
    target = resolve(node)
    if isinstance(value, dict) and target.properties is not None:
        if node.definition == META + "ObjectMeta":
            yield from _template_meta(value, path.removesuffix(".metadata"))
        else:
            yield from validate_fields(target, node.definition, value, path)
    elif isinstance(value, list) and target.items is not None:
        for index, each in enumerate(value):
            yield from _descend(target.items, each, f"{path}[{index}]")


def _template_meta(meta: Obj, path: str) -> Iterator[Finding]:
    """Labels and annotations of a template; the API server leaves `metadata` out of their paths."""
    yield from validate_labels(meta.get("labels") or {}, f"{path}.labels")
    for key in meta.get("annotations") or {}:
        found = names.qualified_name(key.lower())
        yield from (say.invalid(f"{path}.annotations", key, each) for each in found)


def _empty(node: Node | None, value: Any, rule: Rule) -> bool:
    if value is None or value in ("", []):
        return True
    number = type(value) is int and value == 0
    return number and bool(rule.get("required")) and node is not None


def _check(rule: Rule, value: Any, path: str) -> Iterator[Finding]:
    if value is None:
        return
    if "enum" in rule and value != "" and value not in rule["enum"]:
        enum = rule["enum"]
        yield say.not_supported(path, value, sorted(enum) if rule.get("sorted") else enum)
    if "form" in rule and value != "":
        yield from (say.invalid(path, value, each) for each in FORMS[rule["form"]](value))
    if "min" in rule and isinstance(value, int) and value < rule["min"]:
        yield say.invalid(path, value, f"must be greater than or equal to {rule['min']}")
    if "port" in rule:
        yield from _port(rule["port"], value, path)
    if "mode" in rule and not 0 <= value <= MAX_MODE:
        yield say.invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive")
    if "labels" in rule:
        yield from validate_labels(value, path)
    if "keys" in rule:
        for key in value:
            yield from (say.invalid(f"{path}[{key}]", key, each) for each in FORMS[rule["keys"]](key))
    if "unique" in rule:
        yield from _unique(value, rule["unique"], path)
    if "unique_value" in rule:
        yield from _unique_value(value, rule["unique_value"], path)


def _port(kind: Any, value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from (say.invalid(path, value, each) for each in names.port_name(value))
    elif not (kind == "or-zero" and value == 0):
        yield from (say.invalid(path, value, each) for each in names.port_number(value))


def _unique(entries: list[Obj], fields: list[str], path: str) -> Iterator[Finding]:
    seen = set()
    for index, entry in enumerate(entries):
        for field in fields:
            value = entry.get(field)
            if value and (field, value) in seen:
                yield say.duplicate(f"{path}[{index}].{field}", value)
            seen.add((field, value))


def _unique_value(entries: list[Obj], field: str, path: str) -> Iterator[Finding]:
    seen = set()
    for index, entry in enumerate(entries):
        value = entry.get(field)
        if value in seen:
            yield say.invalid(f"{path}[{index}].{field}", value, "must be unique")
        seen.add(value)
