"""The store without a process: bounds, restarts, searches by time, duration and operation."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import LabError
from meshlib.lab.tracestore import jaeger, search
from meshlib.lab.tracestore.model import Span, marks, tag_json
from meshlib.lab.tracestore.query import BadQuery, Search, go_duration_us, legacy_search
from meshlib.lab.tracestore.settings import settings
from meshlib.lab.tracestore.store import CHUNK, Store


def span(number: int, **changes: object) -> Span:
    made = {
        "trace_id": (number + 1).to_bytes(16, "big")[8:],
        "span_id": (number + 1).to_bytes(8, "big"),
        "service": "s",
        "operation": f"op-{number % 3}",
        "kind": "server",
        "start_us": 1000 * number,
        "duration_us": number,
        "tags": (("id", f"v{number}"), ("fixed", "x")),
    }
    return Span(**{**made, **changes})  # type: ignore[arg-type]


def ids(store: Store, **changes: object) -> list[int]:
    given = {"service": "s", "start_us": 0, "end_us": 2**60, "limit": 10_000, **changes}
    return [int(trace, 16) - 1 for trace in search.find(store, Search(**given))]  # type: ignore[arg-type]


def test_each_condition_narrows_and_the_newest_come_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(span(n) for n in range(300))
    assert ids(store)[:3] == [299, 298, 297]
    assert ids(store, limit=2) == [299, 298]
    assert ids(store, start_us=5000, end_us=7000) == [7, 6, 5]
    assert ids(store, min_duration_us=298) == [299, 298]
    assert ids(store, max_duration_us=1) == [1, 0]
    assert ids(store, operation="op-1", end_us=9000) == [7, 4, 1]
    assert ids(store, tags={"id": "v250", "fixed": "x"}) == [250]
    assert ids(store, tags={"id": "v3"}) == [3]  # from before the key was found to vary
    assert ids(store, service="other") == []


def test_all_conditions_hold_for_one_span(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([span(0), span(0, span_id=b"\0" * 7 + b"\x09", operation="other", tags=(("fixed", "y"),))])
    assert ids(store, operation="other", tags={"fixed": "y"}) == [0]
    assert ids(store, operation="other", tags={"fixed": "x"}) == []


def test_old_spans_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = Store(tmp_path, max_spans=100)
    for begin in range(0, 1000, 50):
        store.add(span(n) for n in range(begin, begin + 50))
    assert store.spans == 100
    assert sorted(ids(store)) == list(range(900, 1000))
    assert ids(store, tags={"id": "v10"}) == []


def test_old_traces_go_when_only_their_number_is_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path, max_traces=10)
    for number in range(30):
        store.add([span(number), span(number, span_id=b"\xff" * 8)])
    store.add([span(20, span_id=b"\xee" * 8)])  # late, of the oldest that is left
    assert sorted(ids(store)) == list(range(20, 30))
    assert ids(store, tags={"id": "v3"}) == []
    store.close()
    again = Store(tmp_path, max_traces=10)
    again.add([span(30)])
    assert sorted(ids(again)) == list(range(21, 31))


def test_the_file_is_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=400_000)
    for begin in range(0, 20_000, 20):
        store.add(span(n) for n in range(begin, begin + 20))
    assert store.bytes < 800_000
    assert 19_999 in ids(store)


def test_a_store_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.add(span(n) for n in range(200))
    first.close()
    second = Store(tmp_path)
    second.add([span(200)])
    assert len(ids(second)) == 201
    assert ids(second, tags={"id": "v200"}) == [200]
    assert second.services() == ["s"]
    assert second.operations("s") == [("op-0", "server"), ("op-1", "server"), ("op-2", "server")]


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(OverflowError):
        store.add([span(0), span(1, start_us=2**70)])
    assert store.spans == 0
    store.add([span(2)])
    assert ids(store) == [2]


def shown(store: Store, number: int) -> list[dict[str, Any]]:
    found = search.by_id(store, [f"{number + 1:x}"])
    [trace] = json.loads(jaeger.traces_json(found, store.texts))["data"]
    return [{tag["key"]: tag["value"] for tag in each["tags"]} for each in trace["spans"]]


def test_tags_that_are_nearly_alike_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    alike: list[dict[str, Any]] = [
        {"tags": (("x", True),)},
        {"tags": (("x", 1),)},
        {"tags": (("x", 1.0),)},
        {"texts": {"a": "b\0c", "d": "e"}, "tags": ()},
        {"texts": {"a": "b", "c\0d": "e"}, "tags": ()},
        {"texts": {"a": "", "b": ""}, "tags": ()},
        {"texts": {}, "tags": ()},
    ]
    store.add(span(number, **changes) for number, changes in enumerate(alike))
    for number, changes in enumerate(alike):
        [tags] = shown(store, number)
        wanted = {**changes.get("texts", {}), **dict(changes["tags"])}
        assert json.dumps(tags, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def test_texts_are_found_whether_shared_or_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(300):
        texts = {"id": f"v{number}", "fixed": "x", "size": str(number)}
        store.add([span(number, texts=texts, tags=(("count", number), ("kind", "k")))])
    for tags in ({"id": "v299", "fixed": "x"}, {"size": "299"}, {"count": "299", "kind": "k"}):
        assert ids(store, tags=tags) == [299]
    assert shown(store, 299) == [{"id": "v299", "fixed": "x", "size": "299", "count": 299, "kind": "k"}]


def vary(store: Store, *keys: str) -> None:
    """Let the store find out that the keys' values differ from span to span."""
    store.add(span(n, texts=dict.fromkeys(keys, f"v{n}"), tags=()) for n in range(100))


def test_tags_with_the_same_mark_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    vary(store, "id")
    one, other = "plumless", "buckeroo"  # of one length and one CRC-32
    assert marks([tag_json("id", one)]) == marks([tag_json("id", other)])
    store.add([span(100, texts={"id": one}, tags=()), span(101, texts={"id": other}, tags=())])
    assert ids(store, tags={"id": one}) == [100]
    assert ids(store, tags={"id": other}) == [101]


def test_a_text_with_a_nul_or_quotes_is_found_by_all_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    vary(store, "id")
    odd = ["a\0b", "a", 'a","b', "ü\\", ""]
    for at, key in ((200, "id"), (300, "shared")):
        store.add(span(at + n, texts={key: text}, tags=()) for n, text in enumerate(odd))
        for number, text in enumerate(odd):
            assert ids(store, tags={key: text}) == [at + number]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"),
        (-1, "-1"),
        (True, "true"),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (b"\x12", "12"),
        (b"", ""),
        ("12", "12"),
        (float("nan"), "nan"),
    ],
)
def test_a_value_is_found_by_its_text_wherever_it_is(tmp_path: Path, value: Any, text: str) -> None:
    store = Store(tmp_path)
    vary(store, "own")
    tag = ("own", value)
    store.add(
        [
            span(200, tags=(tag,)),
            span(201, tags=(("shared", value),)),
            span(202, tags=(), logs=((5, (("event", "e"), tag)), (6, (tag,)))),
            span(203, tags=(), process_tags=(tag,)),
        ]
    )
    assert ids(store, tags={"own": text}) == [203, 202, 200]
    assert ids(store, tags={"shared": text}) == [201]
    assert ids(store, tags={"own": f"{text}0"}) == []


def spans_of(store: Store, number: int) -> int:
    return sum(map(len, search.by_id(store, [f"{number + 1:x}"]).values()))


def test_traces_are_whole_across_chunks_restarts_and_retention(tmp_path: Path) -> None:
    def part(begin: int, count: int) -> list[Span]:  # of each thousand arrivals, one for each trace
        return [span(n % 1000, span_id=n.to_bytes(8, "big"), start_us=n) for n in range(begin, begin + count)]

    store = Store(tmp_path, max_spans=2 * CHUNK)
    store.add(part(0, CHUNK - 2))
    with pytest.raises(OverflowError):  # would have sorted the first chunk
        store.add([*part(0, 10), span(1, start_us=2**70)])
    assert spans_of(store, 7) == 33
    store.add(part(CHUNK - 2, 1000))
    assert spans_of(store, 7) == 34
    store.close()
    store = Store(tmp_path, max_spans=2 * CHUNK)
    assert spans_of(store, 7) == 34
    for begin in range(CHUNK + 998, 3 * CHUNK, 1000):
        store.add(part(begin, 1000))
    [(chunks,)] = store.rows("SELECT group_concat(DISTINCT chunk) FROM chunk_trace")
    assert chunks == "1,2"
    assert {spans_of(store, number) for number in range(0, 1000, 9)} <= {65, 66}
    starts = [each.start_us for each in search.by_id(store, ["8"])["0000000000000008"]]
    assert starts == sorted(starts)


def test_a_number_that_a_chunk_has_seen_is_not_given_out_again(tmp_path: Path) -> None:
    store = Store(tmp_path, max_traces=1)
    store.add(span(0) for _ in range(CHUNK - 3))
    store.add([span(1), span(0), span(0)])  # the last span sorts the chunk, then all of the first trace goes
    store.close()
    store = Store(tmp_path, max_traces=2)
    store.add([span(2)])
    assert [spans_of(store, number) for number in range(3)] == [0, 1, 1]


def test_a_file_of_an_earlier_version_is_emptied(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.add([span(1)])
    first.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "traces.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
    second = Store(tmp_path)
    assert second.spans == 0
    second.add([span(2)])
    assert ids(second) == [2]


def test_queries_are_read_as_jaeger_reads_them() -> None:
    found = legacy_search(
        {"service": ["a"], "start": ["5"], "tag": ["k:v:w"], "tags": ['{"x":"y"}'], "minDuration": ["1.5ms"]},
        10**15,
    )
    assert (found.start_us, found.end_us, found.limit) == (5, 10**15, 100)
    assert (found.tags, found.min_duration_us) == ({"k": "v:w", "x": "y"}, 1500)
    assert go_duration_us("1m30s") == 90_000_000
    wrong: list[dict[str, list[str]]] = [
        {},
        {"service": ["a"], "limit": ["x"]},
        {"service": ["a"], "minDuration": ["5"]},
        {"service": ["a"], "tag": ["k"]},
        {"service": ["a"], "maxDuration": ["1s"], "minDuration": ["2s"]},
    ]
    for params in wrong:
        with pytest.raises(BadQuery):
            legacy_search(params, 10**15)


def test_settings_come_from_what_jaeger_reads(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("extensions: {jaeger_query: {base_path: /jaeger}}")
    assert settings(["--config", str(config)], {}).base_path == "/jaeger"
    found = settings(
        [], {"QUERY_BASE_PATH": "/j", "POD_IP": "127.9.9.9", "MESHLIB_PORTS": '{"16686": 41000}'}
    )
    assert (found.base_path, found.address) == ("/j", "127.9.9.9")
    assert (found.ports["query"], found.ports["zipkin"]) == (41000, 9411)
    assert settings([], {"MEMORY_MAX_TRACES": "50000"}).max_traces == 50_000
    badger = {"MEMORY_MAX_TRACES": "50000", "SPAN_STORAGE_TYPE": "badger"}
    assert settings([], badger).max_traces == 0
    with pytest.raises(LabError, match="MEMORY_MAX_TRACES: 'many'"):
        settings([], {"MEMORY_MAX_TRACES": "many"})
    with pytest.raises(LabError, match="unknown flag"):
        settings(["--nonsense=1"], {})
    with pytest.raises(LabError, match="slash"):
        settings([], {"QUERY_BASE_PATH": "jaeger"})
