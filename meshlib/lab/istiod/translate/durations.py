"""Durations: Go's notation, which Istio's API takes, to the seconds that proto JSON takes."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
    "µs": Decimal("0.000001"),
    "ns": Decimal("0.000000001"),
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


def seconds(duration: str) -> Decimal:
    """A Go duration (`1h30m`, `1.5s`, `250ms`) in seconds; ValueError for anything else."""
    text = duration.strip()
    if text == "0":
        return Decimal(0)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {duration!r}")
    return sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))


def proto(duration: str) -> str:
    """The duration in proto JSON: `90s`, `0.25s`."""
    value = seconds(duration)
    text = format(value.normalize(), "f")
    return f"{text}s"
