"""Versions, history and durability."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshlib.lab.api.store import FIRST_VERSION, Change, Gone, Stale, Store

Obj = dict[str, Any]


def obj(name: str, **data: str) -> Obj:
    return {"metadata": {"name": name}, "data": data}


def names(rows: list[Any]) -> list[str]:
    return [row.key for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.db")


def test_versions_count_all_writes_and_never_go_back(store: Store, tmp_path: Path) -> None:
    assert store.version == FIRST_VERSION
    first = store.put("a", "x", obj("x"), expect=0)
    second = store.put("b", "y", obj("y"), expect=0)
    gone = store.delete("b", "y", obj("y"), expect=second)
    assert first < second < gone
    store.forget_before(gone)
    store.close()
    again = Store(tmp_path / "state.db")
    assert again.version == gone
    assert again.put("a", "z", obj("z"), expect=0) > gone


def test_a_write_on_another_version_is_stale(store: Store) -> None:
    first = store.put("a", "x", obj("x"), expect=0)
    with pytest.raises(Stale) as caught:
        store.put("a", "x", obj("x"), expect=0)
    assert caught.value.found == first
    with pytest.raises(Stale):
        store.delete("a", "x", obj("x"), expect=first + 1)


def test_keys_are_ordered_as_text_and_namespaces_do_not_mix(store: Store) -> None:
    for key in ("web/b", "web-2/a", "web/a", "webx/a"):
        store.put("a", key, obj(key), expect=0)
    assert names(store.page("a")) == ["web-2/a", "web/a", "web/b", "webx/a"]
    assert names(store.page("a", "web")) == ["web/a", "web/b"]
    assert names(store.page("a", after="web/a", limit=1)) == ["web/b"]
    assert store.count("a", "web", after="web/a") == 1


def test_a_list_of_the_past(store: Store) -> None:
    for key in ("n/a", "n/b", "n/c"):
        store.put("r", key, obj(key), expect=0)
    then = store.version
    store.delete("r", "n/b", obj("n/b"), expect=then - 1)
    store.put("r", "n/d", obj("n/d"), expect=0)
    changed = store.put("r", "n/c", obj("n/c", k="v"), expect=then)
    store.put("r", "n/c", obj("n/c", k="w"), expect=changed)
    found = store.list_at("r", "n", then)
    assert names(found) == ["n/a", "n/b", "n/c"]
    assert b'"k"' not in found[2].body
    assert names(store.list_at("r", "n", then, after="n/a")) == ["n/b", "n/c"]
    assert names(store.page("r", "n")) == ["n/a", "n/c", "n/d"]


def test_changes_since_a_version_and_the_end_of_memory(store: Store) -> None:
    start = store.version
    first = store.put("r", "a", obj("a"), expect=0)
    store.put("other", "a", obj("a"), expect=0)
    store.put("r", "a", obj("a", k="v"), expect=first)
    seen = list(store.changes("r", start))
    assert [each.verb for each in seen] == ["ADDED", "MODIFIED"]
    assert seen[1].old == seen[0].body
    store.forget_before(first)
    assert [each.verb for each in store.changes("r", first)] == ["MODIFIED"]
    with pytest.raises(Gone):
        store.changes("r", start)


def test_listeners_hear_of_committed_writes_until_they_stop(store: Store) -> None:
    heard: list[Change] = []
    stop = store.listen(heard.append)
    store.put("r", "a", obj("a"), expect=0)
    stop()
    store.put("r", "b", obj("b"), expect=0)
    assert [each.key for each in heard] == ["a"]


WRITER = """
import sys
from pathlib import Path
from meshlib.lab.api.store import Store
store = Store(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    version = store.put("r", f"k{number}", {"metadata": {"name": f"k{number}"}}, expect=0)
    print(number, version, flush=True)
"""


def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    whole = [line.split() for line in lines if line.endswith("\n")]
    count, version = (int(part) for part in whole[-1])
    store = Store(path)
    assert store.version >= version
    assert all(store.get("r", f"k{number}") for number in range(1, count + 1))
    assert store.put("r", "after", obj("after"), expect=0) > version
