"""Answers as Tables and as metadata only, as `kubectl get` asks for them.  Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from .age import age
from .columns import PRINTERS
from .kinds import Column, Kind
from .printers import Definition, Printer
from .request import META, Form
from .store import Obj

_NAME = Definition("Name", format="name")
_CREATED = Definition("Created At", "date")


def table(
    kind: Kind, objects: list[Obj], form: Form, include: str, metadata: Obj, *, columns: bool = True
) -> Obj:
    """A Table of `objects`; `include` is None, Metadata or Object, as the query has it."""
    printer = _printer(kind)
    rows = []
    for obj in objects:
        row: Obj = {"cells": printer.cells(obj)}
        if conditions := printer.conditions(obj):
            row["conditions"] = conditions
        row["object"] = _row_object(obj, form, include)
        rows.append(row)
    definitions = [each.rendered() for each in printer.definitions] if columns else None
    return {
        "kind": "Table",
        "apiVersion": f"{META}/{form.as_version}",
        "metadata": metadata,
        "columnDefinitions": definitions,
        # Kinds without a printer of their own have null here; the server's other tables have [].
        "rows": rows or (None if kind.resource not in PRINTERS and not kind.custom else []),
    }


def scale_table(scale: Obj, form: Form, include: str) -> Obj:
    """The Table of a Scale."""
    definitions = [Definition("Name"), Definition("Desired", "integer"), Definition("Available", "integer")]
    spec, status = scale.get("spec") or {}, scale.get("status") or {}
    created = age(scale["metadata"].get("creationTimestamp"))
    cells = [_name(scale), spec.get("replicas", 0), status.get("replicas", 0), created]
    return {
        "kind": "Table",
        "apiVersion": f"{META}/{form.as_version}",
        "metadata": {"resourceVersion": scale["metadata"].get("resourceVersion", "")},
        "columnDefinitions": [each.rendered() for each in (*definitions, Definition("Age"))],
        "rows": [{"cells": cells, "object": _row_object(scale, form, include)}],
    }


def partial(obj: Obj, form: Form) -> Obj:
    """The metadata of an object alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{META}/{form.as_version}",
        "metadata": obj["metadata"],
    }


def partial_list(objects: list[Obj], form: Form, metadata: Obj) -> Obj:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"{META}/{form.as_version}",
        "metadata": metadata,
        "items": [partial(each, form) for each in objects],
    }


def _row_object(obj: Obj, form: Form, include: str) -> Obj | None:
    if include == "None":
        return None
    return obj if include == "Object" else partial(obj, form)


def _printer(kind: Kind) -> Printer:
    if kind.custom:
        return _custom_printer(kind)
    known = PRINTERS.get(kind.resource)
    return known or Printer([_NAME, _CREATED], lambda obj: [_name(obj), obj["metadata"]["creationTimestamp"]])


def _custom_printer(kind: Kind) -> Printer:
    definitions = [
        _NAME,
        *(
            Definition(each.name, each.type, each.priority, description=each.description)
            for each in kind.columns
        ),
    ]
    return Printer(definitions, lambda obj: [_name(obj), *(_custom_cell(obj, each) for each in kind.columns)])


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _custom_cell(obj: Obj, column: Column) -> Any:
    value: Any = obj
    for key in re.findall(r"[^.\[\]]+", column.path):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return None
    if column.type == "date":
        return age(value)
    if column.type == "string" and not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return value


def marker(form: Form, obj: Obj) -> Obj:
    """The Table that a bookmark of a watched table is: one row without cells."""
    return {
        "kind": "Table",
        "apiVersion": f"{META}/{form.as_version}",
        "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
        "columnDefinitions": None,
        "rows": [{"cells": [], "object": partial(obj, form)}],
    }
