"""The objects, in one SQLite file; the only place where a resourceVersion is made.

Bodies are stored as JSON without `kind` and `apiVersion`, because the items of built-in lists lack them: a
list is the stored bytes, joined.  Every write adds a row to `history`, in the same transaction as the object;
the number of the row is the resourceVersion, which AUTOINCREMENT keeps from ever going back.  WAL with
synchronous=NORMAL: an acknowledged write is in the file system's cache and outlives the process.

Keys are `namespace/name`, or the name alone: the order of a list is the order of these strings, as in etcd.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

Obj = dict[str, Any]
Verb = Literal["ADDED", "MODIFIED", "DELETED"]

FIRST_VERSION = 100  # so that a version from nowhere (clients like to try 1) is older than the window
WINDOW = 10_000  # rows of history that watches and later pages can go back
_TRIM_EVERY = 1_000

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, key));
CREATE TABLE IF NOT EXISTS history (
    version INTEGER PRIMARY KEY AUTOINCREMENT, resource TEXT NOT NULL, key TEXT NOT NULL,
    verb TEXT NOT NULL, body BLOB NOT NULL, old BLOB);
CREATE INDEX IF NOT EXISTS history_by_resource ON history (resource, version);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Row(NamedTuple):
    """A stored object: its key, its version and its JSON."""

    key: str
    version: int
    body: bytes


class Change(NamedTuple):
    """One write: `body` is the object afterwards (of a deletion: as it went), `old` what was there before."""

    version: int
    resource: str
    key: str
    verb: Verb
    body: bytes
    old: bytes | None


class Stale(Exception):
    """A write expected another version than the stored one; `found` is that version, 0 for no object."""

    def __init__(self, found: int) -> None:
        self.found = found
        super().__init__(f"version {found}")


class Gone(Exception):
    """A version that is older than the history; `oldest` is the oldest one that can be asked for."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest
        super().__init__(f"history starts at {oldest}")


class Store:
    """Objects by resource and key.  One writer: the process that opened the file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        self._listeners: list[Callable[[Change], None]] = []
        self._encode = msgspec.json.Encoder().encode
        first = self._db.execute("SELECT value FROM facts WHERE name = 'oldest'").fetchone()
        if first is None:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("INSERT INTO facts VALUES ('oldest', ?)", (FIRST_VERSION,))
                self._db.execute("INSERT INTO sqlite_sequence VALUES ('history', ?)", (FIRST_VERSION,))
            first = (FIRST_VERSION,)
        self.oldest: int = first[0]
        self.version: int = self._db.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'history'"
        ).fetchone()[0]

    def close(self) -> None:
        self._db.close()

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` after every committed write; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def forget_before(self, version: int) -> None:
        """Move the start of the window forward; versions before it are Gone."""
        if version > self.oldest:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("DELETE FROM history WHERE version <= ?", (version,))
                self._db.execute("UPDATE facts SET value = ? WHERE name = 'oldest'", (version,))
            self.oldest = version

    # -- reading

    def get(self, resource: str, key: str) -> Row | None:
        row = self._db.execute(
            "SELECT key, version, body FROM objects WHERE resource = ? AND key = ?", (resource, key)
        ).fetchone()
        return Row(*row) if row else None

    def page(
        self, resource: str, namespace: str | None = None, *, after: str = "", limit: int = -1
    ) -> list[Row]:
        """Objects in the order of their keys; `namespace` None means all of them."""
        low, high = _range(namespace)
        found = self._db.execute(
            "SELECT key, version, body FROM objects WHERE resource = ? AND key > ? AND key >= ? AND key < ?"
            " ORDER BY key LIMIT ?",
            (resource, after, low, high, limit),
        )
        return [Row(*row) for row in found]

    def count(self, resource: str, namespace: str | None = None, *, after: str = "") -> int:
        low, high = _range(namespace)
        found: int = self._db.execute(
            "SELECT count(*) FROM objects WHERE resource = ? AND key > ? AND key >= ? AND key < ?",
            (resource, after, low, high),
        ).fetchone()[0]
        return found

    def list_at(self, resource: str, namespace: str | None, version: int, *, after: str = "") -> list[Row]:
        """The list as it was at `version`: today's, with everything since then taken back.  Raises Gone."""
        rows = {row.key: row for row in self.page(resource, namespace, after=after)}
        low, high = _range(namespace)
        undone: set[str] = set()
        for change in self.changes(resource, version):
            key = change.key
            if key in undone or not (low <= key < high and key > after):
                continue
            undone.add(key)
            rows.pop(key, None)
            if change.old is not None:
                rows[key] = Row(key, 0, change.old)
        return [rows[key] for key in sorted(rows)]

    def changes(self, resource: str, since: int) -> Iterator[Change]:
        """The writes to a resource after version `since`, oldest first.  Raises Gone at once."""
        if since < self.oldest:
            raise Gone(self.oldest)
        found = self._db.execute(
            "SELECT version, resource, key, verb, body, old FROM history"
            " WHERE resource = ? AND version > ? ORDER BY version",
            (resource, since),
        ).fetchall()
        return (Change(*row) for row in found)

    # -- writing

    def put(self, resource: str, key: str, obj: Obj, *, expect: int) -> int:
        """Write `obj`, whose resourceVersion is set to the new version; `expect` 0 means it must not exist.

        Raises Stale when the stored version is another one.
        """
        old = self._expected(resource, key, expect)
        version = self.version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        body = self._encode(obj)
        verb: Verb = "MODIFIED" if old is not None else "ADDED"
        write = (
            "UPDATE objects SET version = ?, body = ? WHERE resource = ? AND key = ?"
            if old is not None
            else "INSERT INTO objects (version, body, resource, key) VALUES (?, ?, ?, ?)"
        )
        self._commit(
            Change(version, resource, key, verb, body, old), [(write, (version, body, resource, key))]
        )
        return version

    def delete(self, resource: str, key: str, obj: Obj, *, expect: int) -> int:
        """Remove the object; `obj` is what watchers see go.  Raises Stale."""
        old = self._expected(resource, key, expect)
        version = self.version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        self._commit(
            Change(version, resource, key, "DELETED", self._encode(obj), old),
            [("DELETE FROM objects WHERE resource = ? AND key = ?", (resource, key))],
        )
        return version

    def _expected(self, resource: str, key: str, expect: int) -> bytes | None:
        row = self.get(resource, key)
        found = row.version if row else 0
        if found != expect:
            raise Stale(found)
        return row.body if row else None

    def _commit(self, change: Change, writes: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in writes:
                self._db.execute(statement, values)
            self._db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", change)
        self.version = change.version
        if change.version - self.oldest > WINDOW + _TRIM_EVERY:
            self.forget_before(change.version - WINDOW)
        for listener in tuple(self._listeners):
            listener(change)


def key_of(namespace: str | None, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def _range(namespace: str | None) -> tuple[str, str]:
    """The keys of a namespace: from `ns/` up to `ns0`, the character after the slash."""
    return (f"{namespace}/", f"{namespace}0") if namespace else ("", "\U0010ffff")
