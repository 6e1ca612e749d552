"""A span's tags, divided: those that many spans share are kept once, as a set; the rest are its own.

Keys whose values differ from span to span (request ids, sizes) are found out as they come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from meshlib.lab.tracestore.model import Span, Tags, tag_json

SHARED_VALUES = 64  # a key with more distinct values than this leaves the shared sets
MOST_SETS = 20_000  # kept in memory; beyond it the key with the most values leaves the shared sets

# tells True, 1 and 1.0 apart, text and bytes too, at half the cost of a tuple of all keys and values
_pack = msgspec.msgpack.Encoder().encode


class TagSets:
    """The sets in the file and the keys that are in none. Writes in the transaction of its caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._write = connection
        self._own_keys = {name: None for (name,) in connection.execute("SELECT name FROM own_key")}
        self._sets: dict[bytes, int] = {}  # by texts and other tags, packed
        self._values: dict[str, set[int]] = {}  # hashes of a key's values so far

    def split(self, span: Span) -> tuple[int, list[str]]:
        """The number of the set that the span shares, and the tags that are its own as JSON."""
        own_keys, texts, tags = self._own_keys, span.texts, span.tags
        own: list[str] = []
        if own_keys:
            texts = texts.copy()  # the caller's span stays as it is
            for key in own_keys:
                text = texts.pop(key, None)
                if text is not None:
                    own.append(tag_json(key, text))
            if not own_keys.keys().isdisjoint(dict(tags)):
                own += [tag_json(key, value) for key, value in tags if key in own_keys]
                tags = tuple([tag for tag in tags if tag[0] not in own_keys])
        packed = _pack((texts, tags))
        return self._sets.get(packed) or self._new(packed, texts, tags), own

    def _new(self, packed: bytes, texts: Mapping[str, str], tags: Tags) -> int:
        all_tags = [*texts.items(), *tags]
        text = ",".join([tag_json(key, value) for key, value in all_tags])
        id_ = insert(self._write, "INSERT INTO tagset (tags) VALUES (?)", (text,))
        self._sets[packed] = id_
        for key, value in all_tags:
            values = self._values.setdefault(key, set())
            values.add(hash(value))
            if len(values) > SHARED_VALUES:
                self._make_own(key)
        if len(self._sets) > MOST_SETS:
            self._make_own(max(self._values, key=lambda key: len(self._values[key])))
        return id_

    def _make_own(self, key: str) -> None:
        self._write.execute("INSERT OR IGNORE INTO own_key VALUES (?)", (key,))
        self._own_keys[key] = None
        self._values.pop(key, None)
        self._sets.clear()  # sets that hold the key are never asked for again


def insert(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> int:
    """The number of the row that `sql` inserts."""
    id_ = connection.execute(sql, values).lastrowid
    if id_ is None:
        raise sqlite3.DatabaseError(f"no row number for {sql}")
    return id_
