"""Spans and traces as tables (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from meshlib.traces.wire import Columns, Value

PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99_9_ms": 0.999}


def spans(columns: Columns) -> pd.DataFrame:
    """One row a span, in order of start.

    Columns: trace_id (32 hex digits), span_id, parent_id ('' for a root), service, operation, start (UTC),
    start_us, duration_ms, error (bool), and the tags of `wire.TAGS`: kind, status (whole number or
    missing), method, url, flags, upstream, request_id, node_id; then those that were asked for.
    """
    start_us = np.array(columns.start_us, dtype="int64")
    shared = {name: _Shared(columns, place) for place, name in enumerate(columns.shared)}
    plain = [name for name in columns.shared if name not in ("service", "operation", "error", "status")]
    frame = pd.DataFrame(
        {
            "trace_id": columns.trace_id,
            "span_id": columns.span_id,
            "parent_id": columns.parent_id,
            "service": shared["service"].names(),
            "operation": shared["operation"].names(),
            "start": pd.to_datetime(start_us, unit="us", utc=True),
            "start_us": start_us,
            "duration_ms": np.array(columns.duration_us, dtype="int64") / 1e3,
            "error": shared["error"].truths(),
            "status": shared["status"].whole_numbers(),
            **{name: shared[name].names() for name in plain},
            **{name: _texts(values) for name, values in columns.own.items()},
        }
    )
    if frame["start_us"].is_monotonic_increasing:
        return frame
    return frame.sort_values("start_us", kind="stable", ignore_index=True)


class _Shared:
    """A column whose values are those of the spans' shapes."""

    def __init__(self, columns: Columns, place: int) -> None:
        self._values = [shape[place] for shape in columns.shapes]
        self._rows = np.array(columns.shape, dtype="int32")

    def names(self) -> pd.Categorical[Any]:
        """The values as text; what is missing stays missing."""
        texts = [None if value is None else str(value) for value in self._values]
        distinct = {
            text: number for number, text in enumerate(dict.fromkeys(t for t in texts if t is not None))
        }
        codes = np.array([-1 if text is None else distinct[text] for text in texts], dtype="int32")
        index = pd.Index(list(distinct), dtype="str")
        return pd.Categorical.from_codes(self._spread(codes), categories=index)

    def truths(self) -> npt.NDArray[Any]:
        """Whether the value is true, as a boolean or as text."""
        return self._spread(np.array([value in (True, "true") for value in self._values], dtype="bool"))

    def whole_numbers(self) -> pd.arrays.IntegerArray:
        """The values as whole numbers; what is none is missing."""
        numbers = [int(str(value)) if str(value).isdigit() else -1 for value in self._values]
        found = self._spread(np.array(numbers, dtype="int64"))
        return pd.arrays.IntegerArray(found, found < 0)

    def _spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values[self._rows] if len(self._rows) else values[:0]


def _texts(values: list[Value]) -> list[str | None]:
    return [value if value is None or isinstance(value, str) else str(value) for value in values]


def traces(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a trace, in order of start: start, duration_ms (first start to last end), spans, services, root
    service and operation, status (the root's), error (of any span)."""
    if frame.empty:
        return pd.DataFrame(
            columns=[
                "trace_id",
                "start",
                "duration_ms",
                "spans",
                "services",
                "service",
                "operation",
                "status",
                "error",
            ]
        )
    ends = frame["start_us"] + frame["duration_ms"] * 1e3
    work = frame.assign(end_us=ends, depth=frame["parent_id"].ne(""))
    by_trace = work.groupby("trace_id", sort=False)
    first = work.sort_values(["depth", "start_us"], kind="stable").groupby("trace_id", sort=False).first()
    found = pd.DataFrame(
        {
            "start": by_trace["start"].min(),
            "duration_ms": (by_trace["end_us"].max() - by_trace["start_us"].min()) / 1e3,
            "spans": by_trace.size(),
            "services": by_trace["service"].nunique(),
            "error": by_trace["error"].any(),
        }
    ).join(first[["service", "operation", "status"]])
    return found.sort_values("start", kind="stable").reset_index()


def percentiles(frame: pd.DataFrame, by: str | list[str] = "service") -> pd.DataFrame:
    """Span durations: count, p50, p90, p99, p99.9 and max in ms, errors; one row for each of `by`."""
    grouped = frame.groupby(by, observed=True)
    table = pd.DataFrame({"spans": grouped.size(), "errors": grouped["error"].sum()})
    for name, share in PERCENTILES.items():
        table[name] = grouped["duration_ms"].quantile(share)
    table["max_ms"] = grouped["duration_ms"].max()
    return table.reset_index()


def errors(frame: pd.DataFrame) -> pd.DataFrame:
    """The spans that failed (tag `error`, or a status of 500 and above), latest first."""
    failed = frame["error"] | frame["status"].ge(500).fillna(False)
    shown = ["start", "trace_id", "service", "operation", "status", "flags", "duration_ms"]
    return frame.loc[failed, shown].sort_values("start", ascending=False, ignore_index=True)


def outliers(traces_frame: pd.DataFrame, *, worst: int = 10) -> pd.DataFrame:
    """The slowest traces with their ids; `times_median` says how far out they are."""
    slowest = traces_frame.nlargest(worst, "duration_ms")
    return slowest.assign(times_median=slowest["duration_ms"] / traces_frame["duration_ms"].median())[
        ["trace_id", "start", "duration_ms", "times_median", "spans", "status", "error"]
    ].reset_index(drop=True)


def dependencies(frame: pd.DataFrame) -> pd.DataFrame:
    """Which service calls which: parent, child, calls, errors, p50_ms and p99_ms of the child's spans."""
    named = frame[["trace_id", "span_id", "parent_id", "service", "duration_ms", "error"]]
    callers = named[["trace_id", "span_id", "service"]].rename(
        columns={"span_id": "parent_id", "service": "parent"}
    )
    calls = named.merge(callers, on=["trace_id", "parent_id"])
    calls = calls[calls["parent"].astype("str") != calls["service"].astype("str")]
    grouped = calls.groupby(["parent", "service"], observed=True)
    table = pd.DataFrame({"calls": grouped.size(), "errors": grouped["error"].sum()})
    table["p50_ms"] = grouped["duration_ms"].quantile(0.5)
    table["p99_ms"] = grouped["duration_ms"].quantile(0.99)
    return table.reset_index().rename(columns={"service": "child"})
