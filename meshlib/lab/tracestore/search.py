"""Searches against the store: which traces, and all their spans.

SQLite hands back one row with everything in it, because each row costs the reader a turn at the interpreter's
lock, which a busy ingest does not give away quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from meshlib.lab.tracestore.model import marks, tag_jsons, trace_id_of
from meshlib.lab.tracestore.query import Search
from meshlib.lab.tracestore.store import CHUNK, Store

_FIELD, _ROW = "\x1f", "\x1e"  # JSON text never holds them raw
_SPAN = (
    "lower(hex(span.trace)) || x'1f' || lower(hex(span.span)) || x'1f' || span.operation"
    " || x'1f' || span.process || x'1f' || span.tagset || x'1f' || span.start_us || x'1f' || span.duration_us"
    " || x'1f' || span.own || x'1f' || span.rest"
)
_NAMES_AT_ONCE = 500  # SQLite allows 999 values in a statement

# The spans of the traces of {hits}, in its order: from the sorted chunks, and by reading what came after.
_OF_TRACES = f"""
WITH RECURSIVE hit(trace, place) AS MATERIALIZED (SELECT trace, row_number() OVER () FROM ({{hits}})),
chunks(chunk) AS (
    SELECT min(chunk) FROM chunk_trace
    UNION ALL SELECT chunk + 1 FROM chunks WHERE chunk < (SELECT max(chunk) FROM chunk_trace)
),
found(id, place) AS (
    SELECT span, place FROM chunks CROSS JOIN hit CROSS JOIN chunk_trace USING (chunk, trace)
    UNION ALL
    SELECT id, place FROM span CROSS JOIN hit USING (trace)
    WHERE id >= coalesce((SELECT max(chunk) + 1 FROM chunk_trace), 0) * {CHUNK}
)
SELECT group_concat(text, x'1e') FROM (
    SELECT {_SPAN} AS text FROM found CROSS JOIN span USING (id) ORDER BY place, start_us
)
"""


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A span as it is kept: ids in hex, shared parts by number, the rest as JSON text."""

    trace_id: str
    span_id: str
    operation: int
    process: int
    tagset: int
    start_us: int
    duration_us: int
    own: str
    rest: str


Traces: TypeAlias = dict[str, list[StoredSpan]]  # by trace id


def find(store: Store, search: Search) -> Traces:
    """The traces that match, newest first, each with all of its spans in order of start."""
    if search.trace_ids:
        return by_id(store, search.trace_ids)
    matching = _matching(store, search)
    if matching is None:
        return {}
    return _traces(store, *matching)


def by_id(store: Store, trace_ids: Iterable[str]) -> Traces:
    """The traces with these ids, as far as they exist. Raises `model.BadSpan` for an id that is no id."""
    wanted = list(dict.fromkeys(trace_id_of(each) for each in trace_ids))
    found: Traces = {}
    for at in range(0, len(wanted), _NAMES_AT_ONCE):
        part = wanted[at : at + _NAMES_AT_ONCE]
        hits = f"SELECT column1 AS trace FROM (VALUES {','.join(['(?)'] * len(part))})"
        found |= _traces(store, hits, part)
    return found


def dependencies(store: Store, start_us: int, end_us: int) -> list[tuple[str, str, int]]:
    """(parent, child, calls): how often a span of one service was the parent of a span of another."""
    sql = """
        SELECT p.name, c.name, n FROM (
            SELECT parent.service AS ps, child.service AS cs, count(*) AS n
            FROM span AS child
            JOIN span AS parent ON parent.trace = child.trace AND parent.span = child.parent
            WHERE child.start_us BETWEEN ? AND ? AND child.parent != x'' AND parent.service != child.service
            GROUP BY 1, 2
        ) JOIN service AS p ON p.id = ps JOIN service AS c ON c.id = cs ORDER BY 1, 2
    """
    return [(parent, child, calls) for parent, child, calls in store.rows(sql, (start_us, end_us))]


def _traces(store: Store, hits: str, values: Iterable[object]) -> Traces:
    [(text,)] = store.rows(_OF_TRACES.format(hits=hits), list(values))
    traces: Traces = {}
    for row in text.split(_ROW) if text else ():
        trace, span, operation, process, tagset, start, duration, own, rest = row.split(_FIELD)
        stored = StoredSpan(
            trace, span, int(operation), int(process), int(tagset), int(start), int(duration), own, rest
        )
        traces.setdefault(trace, []).append(stored)
    return traces


def _matching(store: Store, search: Search) -> tuple[str, list[object]] | None:
    """SQL for the traces of a search, newest span first, or None when nothing can match."""
    service = store.service_id(search.service)
    if service is None:
        return None
    where = [f"service = {service}", "start_us BETWEEN ? AND ?"]
    values: list[object] = [search.start_us, search.end_us]
    if search.operation:
        operations = store.operation_ids(service, search.operation)
        where.append(f"operation IN ({','.join(map(str, operations))})")
    if search.min_duration_us is not None:
        where.append("duration_us >= ?")
        values.append(search.min_duration_us)
    if search.max_duration_us is not None:
        where.append("duration_us <= ?")
        values.append(search.max_duration_us)
    for key, text in search.tags.items():
        condition, texts = _tagged(store, tag_jsons(key, text))
        where.append(condition)
        values += texts
    values.append(search.limit)
    return (
        f"SELECT DISTINCT trace FROM span WHERE {' AND '.join(where)} ORDER BY start_us DESC LIMIT ?",
        values,
    )


def _tagged(store: Store, tags: list[str]) -> tuple[str, list[object]]:
    """A condition for spans with one of these tags (JSON): shared, their own, a log's or their process's."""
    any_of = ["(instr(marks, ?) AND (instr(own, ?) OR instr(rest, ?)))"] * len(tags)
    for column in ("tagset", "process"):
        if ids := store.holding(column, tags):
            any_of.append(f"{column} IN ({ids})")
    return f"({' OR '.join(any_of)})", [value for tag in tags for value in (marks([tag]), tag, tag)]
