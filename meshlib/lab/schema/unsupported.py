"""Fields that are valid in Istio and that the embedded lab cannot honour: refused instead of silently
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .model import Obj


class Gap(NamedTuple):
    """One row of `unsupported.yaml`."""

    kind: str
    path: str
    reason: str


@cache
def gaps() -> tuple[Gap, ...]:
    """All rows, in the order of the table: what the support page prints."""
    rows = yaml.safe_load(Path(__file__).with_name("unsupported.yaml").read_text()) or {}
    return tuple(Gap(kind, path, reason) for kind, paths in rows.items() for path, reason in paths.items())


def unsupported(obj: Obj) -> list[str]:
    """A text for each thing that the object asks for and the embedded lab lacks; [] when it can have all."""
    found = []
    for gap in gaps():
        if gap.kind != obj.get("kind"):
            continue
        if gap.path == "*":
            found.append(f"{gap.kind} is not supported by the embedded lab: {gap.reason}")
            continue
        path, _, value = gap.path.partition("=")
        for place, each in _reached(obj, path.split("."), ""):
            if each is not None and (not value or str(each) == value):
                shown = f"{place}: {each}" if value else place
                found.append(f"{shown} is not supported by the embedded lab: {gap.reason}")
    return found


def _reached(value: Any, parts: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """The places in an object that a path names, with their values."""
    if not parts:
        yield place, value
        return
    name = parts[0]
    key = name.rstrip("[]{}")
    if not isinstance(value, dict) or key not in value:
        return
    inner, at = value[key], f"{place}.{key}" if place else key
    if name.endswith("[]") and isinstance(inner, list):
        for index, each in enumerate(inner):
            yield from _reached(each, parts[1:], f"{at}[{index}]")
    elif name.endswith("{}") and isinstance(inner, dict):
        for field, each in inner.items():
            yield from _reached(each, parts[1:], f"{at}[{field}]")
    elif name == key:
        yield from _reached(inner, parts[1:], at)
