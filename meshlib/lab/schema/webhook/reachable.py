"""Warnings about routes of a VirtualService that no request can reach."""

from __future__ import annotations

import json
from typing import NamedTuple

from meshlib.lab.schema.findings import shown
from meshlib.lab.schema.model import Obj

from .judgement import Judgement


def _name(thing: Obj, index: int) -> str:
    return shown(thing["name"]) if thing.get("name") else f"#{index}"


def _unused(found: Judgement, rule: str, reason: str) -> None:
    found.warn(f"virtualService rule {rule} not used ({reason})")


def _ineffective(found: Judgement, rule: str, match: str, other: str) -> None:
    found.warn(
        f"virtualService rule {rule} match {match} is not used (duplicate/overlapping match in rule {other})"
    )


def warn_unreachable(found: Judgement, routes: list[Obj]) -> None:
    """Routes after one without matches, and matches that an earlier route already has."""
    seen: dict[str, int] = {}
    empty = False
    for index, route in enumerate(routes):
        matches = route.get("match") or []
        rule = _name(route, index)
        if not matches:
            if empty:
                _unused(found, rule, "only the last rule can have no matches")
            empty = True
            continue
        duplicates = 0
        for place, match in enumerate(matches):
            if empty:
                _unused(found, rule, "route without matches defined before")
                continue
            key = json.dumps({k: v for k, v in match.items() if k != "name"}, sort_keys=True)
            if key in seen:
                _ineffective(found, rule, _name(match, place), _name(routes[seen[key]], seen[key]))
                duplicates += 1
            else:
                seen[key] = index
        if duplicates == len(matches):
            _unused(found, rule, "all matches used by prior rules")


class _Prefix(NamedTuple):
    rule: str
    match: str
    prefix: str
    port: int
    values: tuple[str, str]
    maps: tuple[dict[str, str], ...]


def _text(match: Obj | None) -> str:
    if (match or {}).get("exact"):
        return f"exact:{(match or {})['exact']}"
    return f"prefix:{(match or {})['prefix']}" if (match or {}).get("prefix") else ""


def warn_overlapping(found: Judgement, routes: list[Obj]) -> None:
    """Matches by prefix that a wider prefix before them already takes."""
    entries: list[_Prefix] = []
    seen: set[str] = set()
    empty = False
    for index, route in enumerate(routes):
        matches = route.get("match") or []
        empty = empty or not matches
        for place, match in enumerate(matches):
            key = json.dumps({k: v for k, v in match.items() if k != "name"}, sort_keys=True)
            prefix = (match.get("uri") or {}).get("prefix")
            if empty or key in seen or not prefix:
                continue
            seen.add(key)
            names = ("headers", "queryParams", "withoutHeaders")
            maps = tuple({k: _text(v) for k, v in (match.get(name) or {}).items()} for name in names)
            values = (_text(match.get("method")) or "exact:GET", _text(match.get("authority")))
            rule = _name(route, index)
            entries.append(_Prefix(rule, _name(match, place), prefix, match.get("port", 0), values, maps))
    for index, wide in enumerate(entries):
        for narrow in entries[index + 1 :]:
            if narrow.prefix != wide.prefix and _covers(wide, narrow):
                taken = f"{narrow.match} of prefix {narrow.prefix}"
                _ineffective(
                    found, narrow.rule, taken, f"{wide.match} of prefix {wide.prefix} on {wide.rule}"
                )


def _covers(wide: _Prefix, narrow: _Prefix) -> bool:
    if not narrow.prefix.startswith(wide.prefix) or wide.port != narrow.port:
        return False
    if not all(a.startswith(b) for a, b in zip(wide.values, narrow.values, strict=True)):
        return False
    return all(
        len(a) == len(b) and all(key in b and value.startswith(b[key]) for key, value in a.items())
        for a, b in zip(wide.maps, narrow.maps, strict=True)
    )
