"""Spans in SQLite: whatever `add` has returned for is found again after a kill.

One connection writes, on the caller's thread; a second one only reads. What makes both fast: `schema.sql`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from meshlib.lab.tracestore.model import Span, Tags, logs_json, marks, parent_of, rest_json, tag_json
from meshlib.lab.tracestore.tagsets import TagSets, insert

VERSION = 3
LOG = logging.getLogger("tracestore.store")
CHUNK = 32_768  # spans that are sorted by trace together
TRIM = 2000  # spans that one commit removes at most, so that no commit is long
LOOK_EVERY = 50  # commits between two looks at the size of the file
SCHEMA = Path(__file__).with_name("schema.sql")

# a number that a chunk has seen is not given out again, though its span may be gone
LAST_ID = """
SELECT max(coalesce((SELECT max(id) FROM span), 0), coalesce((SELECT max(chunk) + 1 FROM chunk_trace), 0) * ?)
"""
SORT = """
INSERT INTO chunk_trace
SELECT ?1, trace, id FROM span WHERE id >= ?1 * ?2 AND id < (?1 + 1) * ?2 ORDER BY trace
"""


class Store:
    """The spans of one folder.

    `max_spans`, `max_bytes` and, unless it is 0, `max_traces` bound it; the oldest arrivals go first.
    """

    def __init__(
        self, folder: Path, *, max_spans: int = 2_000_000, max_bytes: int = 2**31, max_traces: int = 0
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / "traces.db"
        self.max_spans = max_spans
        self.max_bytes = max_bytes
        self.max_traces = max_traces
        self._commits = 0
        self._too_big = False
        self._write = _open(self.path)
        _of_this_version(self._write)
        self._write.executescript(SCHEMA.read_text())
        self._write.execute("DELETE FROM tagset WHERE id NOT IN (SELECT DISTINCT tagset FROM span)")
        self._read = _open(self.path, read_only=True)
        self._reading = threading.Lock()
        self._load()

    def close(self) -> None:
        self._read.close()
        self._write.close()

    def _load(self) -> None:
        rows = self._write.execute
        self._services: dict[str, int] = dict(rows("SELECT name, id FROM service"))
        self._operations: dict[tuple[int, str, str], int] = {
            (service, name, kind): id_ for id_, service, name, kind in rows("SELECT * FROM operation")
        }
        self._processes: dict[tuple[str, Tags], int] = {}
        self._tagsets = TagSets(self._write)
        self._last_id: int = rows(LAST_ID, (CHUNK,)).fetchone()[0]
        self._traces: dict[bytes, list[int]] = {}
        if self.max_traces:
            self._remember(rows("SELECT id, trace FROM span ORDER BY id"))
        first_id = "SELECT coalesce(min(id), ?) FROM span"
        self._first_id: int = rows(first_id, (self._last_id + 1,)).fetchone()[0]

    @property
    def spans(self) -> int:
        """How many spans are kept; those of single traces that went before their time count."""
        return self._last_id - self._first_id + 1

    @property
    def bytes(self) -> int:
        """How much of the file is in use; pages that became free are used again."""
        pages, free, size = (
            self._write.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def add(self, spans: Iterable[Span]) -> None:
        """Commit all of `spans`, or none. They survive the death of the process from here on."""
        last_id = self._last_id
        try:
            self._write.execute("BEGIN IMMEDIATE")
            rows = self._rows(spans)
            self._write.executemany("INSERT INTO span VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            for chunk in range(last_id // CHUNK, self._last_id // CHUNK):
                self._write.execute(SORT, (chunk, CHUNK))
            self._trim()
            if self.max_traces:
                self._remember(rows)
                self._trim_traces()
            self._write.execute("COMMIT")
        except BaseException:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
            self._load()  # ids given out in memory are not in the file
            self._last_id = last_id
            raise

    def _rows(self, spans: Iterable[Span]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        services, operations, processes = self._services, self._operations, self._processes
        split = self._tagsets.split
        id_ = self._last_id
        for span in spans:
            id_ += 1
            tagset, own = split(span)
            service = services.get(span.service) or self._new_service(span.service)
            operation = (service, span.operation, span.kind)
            references, logs = span.references, logs_json(span.logs) if span.logs else []
            marked = [*own, *(field for _, fields in logs for field in fields)] if logs else own
            rows.append(
                (
                    id_,
                    bytearray(span.trace_id),  # sqlite3 looks for an adapter for bytes, not for these
                    bytearray(span.span_id),
                    service,
                    operations.get(operation) or self._new_operation(operation),
                    processes.get((span.service, span.process_tags)) or self._new_process(span),
                    tagset,
                    parent_of(references),
                    span.start_us,
                    span.duration_us,
                    marks(marked),
                    ",".join(own),
                    rest_json(span.flags, references, logs),
                )
            )
        self._last_id = id_
        return rows

    def _new_service(self, name: str) -> int:
        id_ = insert(self._write, "INSERT INTO service (name) VALUES (?)", (name,))
        self._services[name] = id_
        return id_

    def _new_operation(self, key: tuple[int, str, str]) -> int:
        id_ = insert(self._write, "INSERT INTO operation (service, name, kind) VALUES (?,?,?)", key)
        self._operations[key] = id_
        return id_

    def _new_process(self, span: Span) -> int:
        text = ",".join([tag_json(key, value) for key, value in span.process_tags])
        find = "SELECT id FROM process WHERE service = ? AND tags = ?"
        found = self._write.execute(find, (span.service, text)).fetchone()
        sql = "INSERT INTO process (service, tags) VALUES (?,?)"
        id_: int = found[0] if found else insert(self._write, sql, (span.service, text))
        self._processes[span.service, span.process_tags] = id_
        return id_

    def _trim(self) -> None:
        self._commits += 1
        if self._commits % LOOK_EVERY == 0:
            self._too_big = self.bytes > self.max_bytes
        over = TRIM if self._too_big else min(self.spans - self.max_spans, TRIM)
        over = min(over, self.spans)
        if over <= 0:
            return
        first = self._first_id + over
        self._write.execute("DELETE FROM span WHERE id < ?", (first,))
        self._write.execute("DELETE FROM chunk_trace WHERE chunk < ?", (first // CHUNK,))
        self._first_id = first

    def _remember(self, rows: Iterable[Sequence[Any]]) -> None:
        for id_, trace, *_ in rows:
            self._traces.setdefault(bytes(trace), []).append(id_)

    def _trim_traces(self) -> None:
        for trace in list(islice(self._traces, max(len(self._traces) - self.max_traces, 0))):
            ids = [(id_,) for id_ in self._traces.pop(trace)]
            self._write.executemany("DELETE FROM span WHERE id = ?", ids)

    def services(self) -> list[str]:
        """The names of all services, sorted."""
        return sorted(self._services)

    def operations(self, service: str, kind: str | None = None) -> list[tuple[str, str]]:
        """(name, kind) of the service's operations, sorted; `kind` narrows them."""
        id_ = self._services.get(service)
        return sorted(
            (name, of_kind)
            for owner, name, of_kind in list(self._operations)
            if owner == id_ and kind in (None, of_kind)
        )

    def service_id(self, name: str) -> int | None:
        return self._services.get(name)

    def operation_ids(self, service: int, name: str) -> list[int]:
        """The operation's row numbers, one for each span kind that it was seen with."""
        return [
            id_ for (owner, of, _), id_ in list(self._operations.items()) if (owner, of) == (service, name)
        ]

    def holding(self, what: str, tags: Sequence[str]) -> str:
        """The rows of `process` or `tagset` with one of these tags (JSON): their numbers, commas between."""
        found = " OR ".join(["instr(tags, ?)"] * len(tags))
        [(ids,)] = self.rows(f"SELECT group_concat(id) FROM {what} WHERE {found}", tags)
        return ids or ""

    def texts(self, what: str, ids: Iterable[int]) -> dict[int, Any]:
        """A span's numbers in full: `operation` → name, `process` → (service, tags), `tagset` → tags."""
        columns = {"operation": "name", "process": "json_array(service, tags)", "tagset": "tags"}[what]
        found = self.rows(
            f"SELECT id, {columns} FROM {what} WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return {id_: tuple(json.loads(text)) if what == "process" else text for id_, text in found}

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, on the reading connection."""
        with self._reading:
            return self._read.execute(sql, values).fetchall()


def _open(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA cache_size = -32000")
    if read_only:
        connection.execute("PRAGMA query_only = 1")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    return connection


def _of_this_version(connection: sqlite3.Connection) -> None:
    """Empty a file of an earlier version: its tables are others, and a search would find nothing."""
    [(found,)] = connection.execute("PRAGMA user_version").fetchall()
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if found != VERSION and tables:
        LOG.warning("spans of version %d of the store are dropped; this is version %d", found, VERSION)
        for (name,) in tables:
            connection.execute(f"DROP TABLE {name}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
