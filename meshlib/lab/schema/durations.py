"""Durations as Go and protobuf write them: `1.5s`, `300ms`, `1h30m`."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_FORM = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def duration_ns(text: str) -> int | None:
    """The nanoseconds of a duration, None for what is none (`10`, `1d`, an empty text, more than 290
    years).
    """
    if text in ("0", "+0", "-0"):
        return 0
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    total = sum(Fraction(number) * _UNITS_NS[unit] for number, unit in _PART.findall(match[2]))
    whole = int(total)
    if whole >= 1 << 63:
        return None
    return -whole if match[1] == "-" else whole
