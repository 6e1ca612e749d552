"""The trace headers of a request, with a place for the span's id (W3C Trace Context, B3; pure).

Wires write a request once, and put each request's own id in that place.
"""

from __future__ import annotations

from meshlib.load.plan import Plan

PLACE = "\x7f" * 16  # no header of a plan holds it

Lines = tuple[list[str], list[str]]
"""Header lines `name: value` of requests that are not sampled, and of those that are."""


def lines(plan: Plan, prefix: str) -> Lines:
    """The plan's trace headers; `prefix` is the upper half of the trace ids, 16 hex digits.

    The lower half of a trace id is the id of its first span, too.
    """
    return _lines(plan, prefix, "0"), _lines(plan, prefix, "1")


def _lines(plan: Plan, prefix: str, mark: str) -> list[str]:
    found: list[str] = []
    if plan.trace in ("w3c", "both"):
        found.append(f"traceparent: 00-{prefix}{PLACE}-{PLACE}-0{mark}")
    if plan.trace in ("b3", "both"):
        found += [f"x-b3-traceid: {prefix}{PLACE}", f"x-b3-spanid: {PLACE}"]
        if plan.sampled is not None:
            found.append(f"x-b3-sampled: {mark}")
    return found
