"""The trace store when things go wrong: kills under load, a full disk, retention, bad bodies."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib import wait

NOW_US = time.time_ns() // 1000
BATCH = 20


def batch(first: int) -> list[dict[str, Any]]:
    return [
        {
            "traceId": f"{number + 1:032x}",
            "id": f"{number + 1:016x}",
            "name": "op",
            "timestamp": NOW_US + number,
            "duration": 5,
            "localEndpoint": {"serviceName": "s"},
            "tags": {"id": f"v{number}", "fixed": "x"},
        }
        for number in range(first, first + BATCH)
    ]


def traces(store: Any) -> set[int]:
    found = store.get(16686, "/api/traces?service=s&limit=100000")["data"] or []
    return {int(trace["traceID"], 16) - 1 for trace in found}


def test_what_was_accepted_is_there_however_often_the_process_dies(running: Any) -> None:
    accepted: set[int] = set()
    moments = random.Random(7)
    numbers = iter(range(0, 10**9, BATCH))
    for _ in range(4):
        stop = threading.Event()

        def send(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                first = next(numbers)
                try:
                    if running.post_zipkin(batch(first)) == 202:
                        accepted.update(range(first, first + BATCH))
                except (OSError, http.client.HTTPException):  # killed in the middle of an answer
                    return

        sender = threading.Thread(target=send)
        sender.start()
        enough = len(accepted) + BATCH * moments.randint(2, 12)

        def sent(enough: int = enough) -> None:
            if len(accepted) < enough:
                raise wait.NotYet(f"{len(accepted)} of {enough} spans")

        wait.until(sent, "spans that are accepted", timeout_s=60)
        running.kill()
        stop.set()
        sender.join()
        running.start()
        assert accepted <= traces(running)


@pytest.fixture
def small_disk(store_process: Any, folder: Path) -> Iterator[Any]:
    """A store whose files cannot grow beyond 2 MB: what a write then sees is what a full disk gives."""

    class Small(store_process):  # type: ignore[misc]
        blocks = 2048

        def start(self) -> None:
            limit = f"ulimit -f {self.blocks}; " if self.blocks else ""
            program = f'{limit}exec "{sys.executable}" -m meshlib.lab.tracestore'
            self.process = subprocess.Popen(["bash", "-c", program], env=self.env, stderr=subprocess.PIPE)
            wait.until(self._ready, "the trace store", timeout_s=60)

    made = Small(folder)
    yield made
    made.kill()


def test_a_full_disk_refuses_and_loses_nothing(small_disk: Any) -> None:
    accepted: set[int] = set()
    statuses: list[int] = []
    for first in range(0, 60_000, BATCH):
        statuses.append(small_disk.post_zipkin(batch(first)))
        if statuses[-1] != 202:
            break
        accepted.update(range(first, first + BATCH))
    assert statuses[-1] == 503
    assert len(accepted) > 100
    status, text = small_disk.call(
        9411, "/api/v2/spans", json.dumps(batch(10**6)).encode(), Content_Type="application/json"
    )
    assert status == 503
    assert b"cannot keep the batch" in text
    assert accepted <= traces(small_disk)  # reading goes on
    small_disk.kill()
    small_disk.blocks = 0
    small_disk.start()
    found = traces(small_disk)
    assert accepted <= found
    assert 10**6 not in found
    assert small_disk.post_zipkin(batch(2 * 10**6)) == 202


def test_retention_while_many_write_and_search(store_process: Any, folder: Path) -> None:
    store = store_process(folder, env={"MESHLIB_MAX_SPANS": "1000"})
    try:
        statuses: list[int] = []

        def send(begin: int) -> None:
            for first in range(begin, begin + 40 * BATCH, BATCH):
                statuses.append(store.post_zipkin(batch(first)))  # noqa: PERF401

        senders = [threading.Thread(target=send, args=(n * 10_000,)) for n in range(3)]
        for each in senders:
            each.start()
        while any(each.is_alive() for each in senders):
            for trace in store.get(16686, "/api/traces?service=s&limit=200")["data"]:
                assert len(trace["spans"]) == 1
        for each in senders:
            each.join()
        assert statuses == [202] * 120
        newest = batch(90_000)
        assert store.post_zipkin(newest) == 202
        found = traces(store)
        assert len(found) == 1000
        assert set(range(90_000, 90_000 + BATCH)) <= found
    finally:
        store.kill()


SPAN = '{"traceId":"00000000000000000000000000000001","spanId":"0000000000000001"'
MALFORMED: list[tuple[int, str, bytes]] = [
    *(
        (9411, "/api/v2/spans", body)
        for body in (
            b"",
            b"null",
            b"{}",
            b"[1]",
            b"[{}]",
            b"[" * 100_000,
            b'[{"traceId":"","id":"1"}]',
            b'[{"traceId":"xyz","id":"1"}]',
            b'[{"traceId":"1","id":"-1"}]',
            b'[{"traceId":"1","id":"1","timestamp":-1}]',
            b'[{"traceId":"1","id":"1","timestamp":99999999999999999999}]',
            b'[{"traceId":"1","id":"1","tags":{"a":1}}]',
            b'[{"traceId":"1","id":"1","name":"\\ud800"}]',
            b'[{"traceId":"1","id":"1","name":"\xff"}]',
            b'[{"traceId":"1","id":"1","remoteEndpoint":{"port":70000}}]',
            b'[{"traceId":"1","id":"1","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}]",
        )
    ),
    *(
        (4318, "/v1/traces", b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + span.encode() + b"]}]}]}")
        for span in (
            "{}",
            '{"traceId":"0","spanId":"1"}',
            SPAN + ',"startTimeUnixNano":"x"}',
            SPAN + ',"startTimeUnixNano":"-5"}',
            SPAN + ',"events":[{"timeUnixNano":"99999999999999999999999"}]}',
            SPAN + ',"attributes":[{"key":"a","value":{"intValue":"zz"}}]}',
            SPAN + ',"attributes":[{"key":"a","value":{"intValue":"9223372036854775808"}}]}',
            SPAN + ',"attributes":[{"key":"a","value":{"bytesValue":"!"}}]}',
            SPAN
            + ',"attributes":[{"key":"a","value":'
            + '{"arrayValue":{"values":[' * 2000
            + "]}}" * 2000
            + "}]}",
        )
    ),
]


WHEN = "query.serviceName=s&query.startTimeMin=2020-01-01T00:00:00Z&query.startTimeMax=2030-01-01T00:00:00Z"


def test_malformed_batches_are_refused_whole_and_the_store_goes_on(running: Any) -> None:
    for port, path, body in MALFORMED:
        status, text = running.call(port, path, body, Content_Type="application/json")
        assert (status, text[:31]) == (400, b"Unable to process request body:"), body[:120]
    for port, path in ((9411, "/api/v2/spans"), (4318, "/v1/traces")):
        for body in (b"\x0a", b"\xff" * 20, b"{}"):
            status, _ = running.call(port, path, body, Content_Type="application/x-protobuf")
            assert status == 400, body
        status, _ = running.call(port, path, b"x", Content_Type="application/json", Content_Encoding="gzip")
        assert status == 400
    assert running.get(16686, "/api/services")["data"] is None
    assert running.post_zipkin(batch(0)) == 202
    assert len(traces(running)) == BATCH


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(running: Any) -> None:
    bomb = gzip.compress(b"[" + b" " * (300 << 20) + b"]")
    head = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
    status, text = running.call(9411, "/api/v2/spans", bomb, **head)
    assert status == 400
    assert b"larger than 67108864 bytes when unpacked" in text
    assert _peak_bytes(running.process.pid) < 400 << 20
    for body in (gzip.compress(b"[]")[:-5], gzip.compress(b"[") + b"x"):
        assert running.call(9411, "/api/v2/spans", body, **head)[0] == 400
    whole = json.dumps(batch(0)).encode()
    parts = gzip.compress(whole[:100]) + gzip.compress(whole[100:])
    assert running.call(9411, "/api/v2/spans", parts, **head)[0] == 202
    assert len(traces(running)) == BATCH


def _peak_bytes(pid: int) -> int:
    if not Path(f"/proc/{pid}/status").exists():
        return 0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/traces?service=s&start=0&end=9999999999999999999", 400),
        ("/api/traces?service=s&start=-99999999999999999999", 400),
        (f"/api/traces?service=s&minDuration={'9' * 400}s", 200),
        ("/api/traces?service=s&minDuration=99999999999999h", 200),
        (f"/api/traces?service=s&tags={'[' * 5000}", 400),
        (f"/api/dependencies?endTs={2**63 - 1}&lookback=1", 200),
        (f"/api/dependencies?endTs=0&lookback={2**63 - 1}", 200),
        ("/api/dependencies?endTs=99999999999999999999999", 400),
        (f"/api/v3/traces?{WHEN}&query.searchDepth=99999999999999999999", 404),
        (f"/api/v3/traces?{WHEN}&query.durationMin={'9' * 400}h", 404),
        (f"/api/v3/traces?{WHEN}&query.attributes={'[' * 5000}", 400),
    ],
)
def test_numbers_out_of_range_are_answered(running: Any, path: str, expected: int) -> None:
    assert running.call(16686, path)[0] == expected


def test_numbers_that_json_does_not_have_leave_the_trace_readable(running: Any) -> None:
    values = [("a", "NaN"), ("b", "-Infinity")]
    attributes = [{"key": key, "value": {"doubleValue": value}} for key, value in values]
    span = json.loads(SPAN + "}") | {"attributes": attributes}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    assert running.call(4318, "/v1/traces", body, Content_Type="application/json")[0] == 200
    status, text = running.call(16686, "/api/traces/1")
    assert status == 200
    assert b"NaN," not in text
    tags = {tag["key"]: tag["value"] for tag in json.loads(text)["data"][0]["spans"][0]["tags"]}
    assert (tags["a"], tags["b"]) == ("NaN", "-Infinity")
