"""What a search asks for, read from Jaeger's query parameters (pure).

Source: Jaeger v1.46 `cmd/query/app/query_parser.go`: start and end in Unix µs, durations as Go writes them,
`tag=key:value` any number of times, `tags` as a JSON object, limit 100 unless said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LIMIT = 100
MAX_LIMIT = 2**31 - 1
MAX_US = 2**62  # far from any time, and no trouble to SQLite even when something is added
WINDOW_US = 48 * 3600 * 1_000_000

UNITS_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

Params = Mapping[str, Sequence[str]]


class BadQuery(ValueError):
    """A parameter that Jaeger answers with 400; the text is its message."""


@dataclass(frozen=True)
class Search:
    """A search over traces: all of it must hold for one span of it. Times are Unix µs, ends included."""

    service: str
    start_us: int
    end_us: int
    operation: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    min_duration_us: int | None = None
    max_duration_us: int | None = None
    limit: int = LIMIT
    trace_ids: tuple[str, ...] = ()


def go_duration_us(text: str) -> int:
    """A Go duration (`1.5ms`, `2m30s`) in µs. Raises `BadQuery`."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise BadQuery(f'time: invalid duration "{text}"')
    return sign * round(min(sum(float(number) * UNITS_US[unit] for number, unit in parts), MAX_US))


def legacy_search(params: Params, now_us: int) -> Search:
    """The parameters of GET /api/traces. Raises `BadQuery` with Jaeger's message."""
    service = _one(params, "service") or ""
    trace_ids = tuple(params.get("traceID", ()))
    start_us = _integer(params, "start", now_us - WINDOW_US)
    end_us = _integer(params, "end", now_us)
    limit = _limit(_one(params, "limit"))
    tags = _tags(params)
    shortest = _duration(params, "minDuration")
    longest = _duration(params, "maxDuration")
    if not service and not trace_ids:
        raise BadQuery("parameter 'service' is required")
    if shortest and longest and longest < shortest:
        raise BadQuery("'maxDuration' should be greater than 'minDuration'")
    return Search(
        service=service,
        operation=_one(params, "operation"),
        start_us=start_us,
        end_us=end_us,
        tags=tags,
        min_duration_us=shortest or None,
        max_duration_us=longest or None,
        limit=limit,
        trace_ids=trace_ids,
    )


def dependencies_window_us(params: Params, now_us: int) -> tuple[int, int]:
    """The window of GET /api/dependencies, whose `endTs` and `lookback` are in ms. Raises `BadQuery`."""
    end_us = _integer(params, "endTs", now_us // 1000) * 1000
    start_us = end_us - _integer(params, "lookback", 24 * 3600 * 1000) * 1000
    return _bounded(start_us), _bounded(end_us)


def _bounded(value_us: int) -> int:
    return max(-MAX_US, min(value_us, MAX_US))


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT
    try:
        limit = int(text)
    except ValueError as error:
        raise BadQuery(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error
    if not -MAX_LIMIT <= limit <= MAX_LIMIT:
        raise BadQuery(f'strconv.ParseInt: parsing "{text}": value out of range')
    return limit if limit > 0 else LIMIT


def _one(params: Params, name: str) -> str | None:
    values = params.get(name, ())
    return values[0] if values and values[0] else None


def _integer(params: Params, name: str, default: int) -> int:
    text = _one(params, name)
    if text is None:
        return default
    problem = f"unable to parse param '{name}': strconv.ParseInt: parsing \"{text}\""
    try:
        value = int(text)
    except ValueError as error:
        raise BadQuery(f"{problem}: invalid syntax") from error
    if not -(2**63) <= value < 2**63:
        raise BadQuery(f"{problem}: value out of range")
    return value


def _duration(params: Params, name: str) -> int | None:
    text = _one(params, name)
    if text is None:
        return None
    try:
        return go_duration_us(text)
    except BadQuery as error:
        raise BadQuery(f"unable to parse param '{name}': {error}") from error


def _tags(params: Params) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in params.get("tag", ()):
        key, colon, value = text.partition(":")
        if not colon:
            raise BadQuery(f"malformed 'tag' parameter, expecting key:value, received: {text}")
        found[key] = value
    for text in params.get("tags", ()):
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadQuery(f"malformed 'tags' parameter, cannot unmarshal JSON: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise BadQuery("malformed 'tags' parameter, cannot unmarshal JSON: not an object of strings")
        found.update(value)
    return found
