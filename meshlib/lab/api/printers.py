"""What a table of a kind is made of: its columns and the function that fills a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .store import Obj


@dataclass(frozen=True, slots=True)
class Definition:
    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def rendered(self) -> Obj:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


def _no_conditions(_: Obj) -> list[Obj]:
    return []


@dataclass(frozen=True, slots=True)
class Printer:
    definitions: list[Definition]
    cells: Callable[[Obj], list[Any]]
    conditions: Callable[[Obj], list[Obj]] = _no_conditions


def columns(text: str) -> list[Definition]:
    """`Name Ready Age IP*`: names with `_` for a space, `*` for wide, `:type` where that is no string."""
    found = []
    for word in text.split():
        name, _, type_ = word.partition(":")
        wide = name.endswith("*")
        shown = name.rstrip("*").replace("_", " ")
        format_ = "name" if shown == "Name" else ""
        found.append(Definition(shown, type_ or "string", int(wide), format_))
    return found
