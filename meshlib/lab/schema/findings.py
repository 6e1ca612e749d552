"""Findings in the words of Kubernetes' field errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .model import Finding

OMIT: Any = object()
"""Stands for a value that the text does not show."""


def shown(value: Any) -> str:
    """A value as it stands in the text of a finding: strings quoted, the rest as compact JSON."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, str):
        return text
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finding(path: str, reason: str, head: str, value: Any, detail: str) -> Finding:
    text = head if value is OMIT else f"{head}: {shown(value)}"
    return Finding(path or "<nil>", f"FieldValue{reason}", f"{text}: {detail}" if detail else text)


def required(path: str, detail: str = "") -> Finding:
    return _finding(path, "Required", "Required value", OMIT, detail)


def invalid(path: str, value: Any, detail: str) -> Finding:
    return _finding(path, "Invalid", "Invalid value", value, detail)


def type_invalid(path: str, value: Any, detail: str) -> Finding:
    return _finding(path, "TypeInvalid", "Invalid value", value, detail)


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> Finding:
    names = ", ".join(shown(str(each)) for each in supported)
    return _finding(path, "NotSupported", "Unsupported value", value, f"supported values: {names}")


def forbidden(path: str, detail: str) -> Finding:
    return _finding(path, "Forbidden", "Forbidden", OMIT, detail)


def duplicate(path: str, value: Any) -> Finding:
    return _finding(path, "Duplicate", "Duplicate value", value, "")


def not_found(path: str, value: Any) -> Finding:
    return _finding(path, "NotFound", "Not found", value, "")


def too_long(path: str, limit: int) -> Finding:
    unit = "byte" if limit == 1 else "bytes"
    return _finding(path, "TooLong", "Too long", OMIT, f"may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> Finding:
    unit = "item" if limit == 1 else "items"
    return _finding(path, "TooMany", "Too many", count, f"must have at most {limit} {unit}")
