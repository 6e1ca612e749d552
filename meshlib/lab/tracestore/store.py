"""Spans in SQLite: whatever `add` has returned for is found again after a kill.

What makes it fast: tags that many spans share are stored once, as a set, and the tag index points at
sets. Keys with many distinct values (request ids, sizes) are found out as they come and indexed by span.
One connection writes, on the caller's thread; a second one only reads.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from meshlib.lab.tracestore.model import Log, Reference, Span, Tag, Tags, tag_json, tag_text

VERSION = 2
LOG = logging.getLogger("tracestore.store")
BUCKET = 1024  # spans a bucket of the index on own tags
SHARED_VALUES = 64  # a key with more distinct values than this leaves the shared sets
MOST_TAGSETS = 20_000  # kept in memory; beyond it the key with the most values leaves the shared sets
TRIM = 2000  # spans that one commit removes at most, so that no commit is long
LOOK_EVERY = 50  # commits between two looks at the size of the file

# A set of tags as what finds it fastest: all texts joined, how many, the other tags, their types (1 is True)
Shared: TypeAlias = tuple[Any, ...]
PRIME = 2**62 - 57
NOBODY = bytearray()
SCHEMA = Path(__file__).with_name("schema.sql")

# tag sets that no span has any more
CLEAN = """
DELETE FROM tagset WHERE id NOT IN (SELECT DISTINCT tagset FROM span);
DELETE FROM tagset_tag WHERE tagset NOT IN (SELECT id FROM tagset);
"""


def tag_hash(key: str, text: str) -> int:
    """A number below 2**62 for a tag: what the tag index holds instead of its text.

    The text read as one large number, modulo a prime: different texts meet once in 2**62, at a third of the
    cost of a digest.
    """
    return int.from_bytes(f"{key}\0{text}".encode(), "big") % PRIME


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
        self._write.executescript(CLEAN)
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
        self._own_keys: dict[str, None] = {name: None for (name,) in rows("SELECT name FROM own_key")}
        self._tagsets: dict[Shared, int] = {}
        self._values: dict[str, set[int]] = {}
        self._last_id: int = rows("SELECT coalesce(max(id), 0) FROM span").fetchone()[0]
        by_age = "SELECT trace FROM span GROUP BY trace ORDER BY min(id)"
        self._traces = dict.fromkeys(trace for (trace,) in rows(by_age)) if self.max_traces else {}
        self._first_id: int = rows("SELECT coalesce(min(id), 1) FROM span").fetchone()[0]

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
            rows, tags = self._rows(spans)
            self._write.executemany("INSERT INTO span VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            self._write.executemany("INSERT OR IGNORE INTO span_tag VALUES (?,?,?)", tags)
            self._trim()
            if self.max_traces:
                self._trim_traces(bytes(row[1]) for row in rows)
            self._write.execute("COMMIT")
        except BaseException:
            if self._write.in_transaction:
                self._write.execute("ROLLBACK")
            self._load()  # ids given out in memory are not in the file
            self._last_id = last_id
            raise

    def _rows(self, spans: Iterable[Span]) -> tuple[list[tuple[Any, ...]], list[tuple[int, int, int]]]:
        rows: list[tuple[Any, ...]] = []
        marks: list[tuple[int, int, int]] = []
        services, operations, processes = self._services, self._operations, self._processes
        id_ = self._last_id
        for span in spans:
            id_ += 1
            shared, texts, own = self._split(span)
            if own or span.logs:
                bucket = id_ // BUCKET
                marks += [(bucket, tag_hash(key, tag_text(value)), id_) for key, value in own]
                for _, fields in span.logs:
                    marks += [(bucket, tag_hash(key, tag_text(value)), id_) for key, value in fields]
            service = services.get(span.service) or self._new_service(span.service)
            operation = (service, span.operation, span.kind)
            references = span.references
            rows.append(
                (
                    id_,
                    bytearray(span.trace_id),  # sqlite3 looks for an adapter for bytes, not for these
                    bytearray(span.span_id),
                    service,
                    operations.get(operation) or self._new_operation(operation),
                    processes.get((span.service, span.process_tags)) or self._new_process(span),
                    self._tagsets.get(shared) or self._new_tagset(shared, texts),
                    _parent(references) if references else NOBODY,
                    span.start_us,
                    span.duration_us,
                    ",".join([tag_json(key, value) for key, value in own]) if own else "",
                    _rest(span.flags, references, span.logs),
                )
            )
        self._last_id = id_
        return rows, marks

    def _split(self, span: Span) -> tuple[Shared, Mapping[str, str], list[Tag]]:
        """The span's tags as a shared set, the texts of that, and the tags that are the span's own."""
        own_keys, texts, tags = self._own_keys, span.texts, span.tags
        own: list[Tag] = []
        if own_keys:
            texts = texts.copy()  # the span is added again when this commit fails
            own = [(key, texts.pop(key)) for key in own_keys if key in texts]
            if not own_keys.keys().isdisjoint([key for key, _ in tags]):
                own += [tag for tag in tags if tag[0] in own_keys]
                tags = tuple([tag for tag in tags if tag[0] not in own_keys])
        joined = "\0".join([*texts, *texts.values()])
        return (joined, len(texts), tags, tuple([value.__class__ for _, value in tags])), texts, own

    def _new_service(self, name: str) -> int:
        id_ = _insert(self._write, "INSERT INTO service (name) VALUES (?)", (name,))
        self._services[name] = id_
        return id_

    def _new_operation(self, key: tuple[int, str, str]) -> int:
        id_ = _insert(self._write, "INSERT INTO operation (service, name, kind) VALUES (?,?,?)", key)
        self._operations[key] = id_
        return id_

    def _new_process(self, span: Span) -> int:
        text = ",".join([tag_json(key, value) for key, value in span.process_tags])
        find = "SELECT id FROM process WHERE service = ? AND tags = ?"
        found = self._write.execute(find, (span.service, text)).fetchone()
        insert = "INSERT INTO process (service, tags) VALUES (?,?)"
        id_: int = found[0] if found else _insert(self._write, insert, (span.service, text))
        self._processes[span.service, span.process_tags] = id_
        return id_

    def _new_tagset(self, shared: Shared, texts: Mapping[str, str]) -> int:
        if shared[0].count("\0") > max(2 * len(texts) - 1, 0):
            # a text with a NUL in it, which joined could be another's; a set without one has fewer of them
            shared = ("", *texts.items(), *shared[2:])
            if id_ := self._tagsets.get(shared):
                return id_
        tags: list[Tag] = [*texts.items(), *shared[-2]]
        text = ",".join([tag_json(key, value) for key, value in tags])
        id_ = _insert(self._write, "INSERT INTO tagset (tags) VALUES (?)", (text,))
        hashes = {(key, tag_hash(key, tag_text(value))) for key, value in tags}
        self._write.executemany(
            "INSERT OR IGNORE INTO tagset_tag VALUES (?,?)", [(h, id_) for _, h in hashes]
        )
        self._tagsets[shared] = id_
        for key, hash_ in hashes:
            values = self._values.setdefault(key, set())
            values.add(hash_)
            if len(values) > SHARED_VALUES:
                self._make_own(key)
        if len(self._tagsets) > MOST_TAGSETS:
            self._make_own(max(self._values, key=lambda key: len(self._values[key])))
        return id_

    def _make_own(self, key: str) -> None:
        self._write.execute("INSERT OR IGNORE INTO own_key VALUES (?)", (key,))
        self._own_keys[key] = None
        self._values.pop(key, None)
        self._tagsets.clear()  # sets that hold the key are never asked for again

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
        self._write.execute("DELETE FROM span_tag WHERE bucket < ?", (first // BUCKET,))
        self._first_id = first

    def _trim_traces(self, arrived: Iterable[Any]) -> None:
        self._traces |= dict.fromkeys(arrived)
        over = [(trace,) for trace in islice(self._traces, max(len(self._traces) - self.max_traces, 0))]
        self._write.executemany("DELETE FROM span WHERE trace = ?", over)
        for (trace,) in over:
            del self._traces[trace]

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

    def buckets(self) -> range:
        """The buckets of the index on own tags that are in use."""
        return range(self._first_id // BUCKET, self._last_id // BUCKET + 1)

    def service_id(self, name: str) -> int | None:
        return self._services.get(name)

    def operation_ids(self, service: int, name: str) -> list[int]:
        """The operation's row numbers, one for each span kind that it was seen with."""
        return [
            id_ for (owner, of, _), id_ in list(self._operations.items()) if (owner, of) == (service, name)
        ]

    def process_ids(self, fragment: str) -> list[int]:
        """The processes whose tags contain the tag of this JSON text."""
        return [id_ for id_, tags in self.rows("SELECT id, tags FROM process") if fragment in tags]

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
    """Empty a file of an earlier version: its hashes mean something else, and a search would find nothing."""
    [(found,)] = connection.execute("PRAGMA user_version").fetchall()
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if found != VERSION and tables:
        LOG.warning("spans of version %d of the store are dropped; this is version %d", found, VERSION)
        for (name,) in tables:
            connection.execute(f"DROP TABLE {name}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _insert(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> int:
    id_ = connection.execute(sql, values).lastrowid
    if id_ is None:
        raise sqlite3.DatabaseError(f"no row number for {sql}")
    return id_


def _parent(references: tuple[Reference, ...]) -> bytearray:
    return next((bytearray(parent) for how, _, parent in references if how == "CHILD_OF"), NOBODY)


def _rest(flags: int, references: tuple[Reference, ...], logs: tuple[Log, ...]) -> str:
    refs = ",".join(
        [f'{{"refType":"{how}","traceID":"{t.hex()}","spanID":"{s.hex()}"}}' for how, t, s in references]
    )
    text = f'"flags":{flags},"references":[{refs}]' if flags else f'"references":[{refs}]'
    if not logs:
        return text + ',"logs":[]'
    items = ",".join(
        f'{{"timestamp":{at},"fields":[{",".join(tag_json(k, v) for k, v in fields)}]}}'
        for at, fields in logs
    )
    return f'{text},"logs":[{items}]'
