"""Real requests against a real server: what was sent, what was measured."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from meshlib import load
from meshlib.errors import ParameterError


def test_closed_loop_counts_every_request(server: Any) -> None:
    result = load.run(server.url + "/", connections=4, requests=200, duration_s=None)
    numbers = result.numbers
    assert (numbers.requests, numbers.statuses, numbers.errors) == (200, {"200": 200}, {})
    assert (numbers.bytes, numbers.connections_opened) == (600, 4)
    assert len(server.heads) == 200
    frame = result.requests
    assert len(frame) == 200
    assert (frame["total_ms"] > 0).all()
    assert (frame["first_byte_ms"] <= frame["total_ms"]).all()
    assert frame["new_connection"].sum() == 4
    assert set(frame["http"]) == {"1.1"}
    metrics = result.metrics()
    assert metrics["error_percent"] == 0
    assert metrics["p50_ms"] <= metrics["p95_ms"] <= metrics["p99_ms"] <= frame["total_ms"].max() * 1.01


def test_each_connection_keeps_a_name_of_its_own(server: Any) -> None:
    port = server.url.rpartition(":")[2]
    resolve = (f"shop.example:{port}:127.0.0.1",)
    result = load.run(
        f"http://shop.example:{port}/", connections=4, requests=200, duration_s=None, resolve=resolve
    )
    assert (result.numbers.statuses, result.numbers.connections_opened) == ({"200": 200}, 4)
    assert all(f"Host: shop.example:{port}\r\n" in head for head in server.heads)


@pytest.mark.parametrize("resolve", [False, True])
def test_connections_that_the_server_closes_without_a_word(server: Any, resolve: bool) -> None:
    port = server.url.rpartition(":")[2]
    to = (f"localhost:{port}:127.0.0.1",) if resolve else ()
    host = "localhost" if resolve else "127.0.0.1"
    result = load.run(
        f"http://{host}:{port}/leave", connections=3, rate=50, duration_s=2.0, resolve=to, timeout_s=10.0
    )
    assert (result.numbers.statuses, result.numbers.errors) == ({"200": 100}, {})
    assert result.numbers.connections_opened >= 100
    assert result.numbers.cpu_s < 1.0  # an idle connection with an end to read must not keep the poller busy


def test_a_record_takes_at_most_100_bytes(server: Any) -> None:
    result = load.run(server.url + "/", connections=2, requests=50, duration_s=None)
    assert result.records.nbytes / len(result.records) <= 100


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_left_in_the_temporary_folder(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = load.run(server.url + "/", connections=2, requests=50, duration_s=None, workers=workers)
    assert len(result.requests) == 50
    assert list(tmp_path.iterdir()) == []


def test_duration_bounds_a_closed_loop(server: Any) -> None:
    result = load.run(server.url + "/", connections=2, duration_s=0.3)
    assert 0.29 <= result.numbers.duration_s < 5
    assert result.requests["started_s"].max() <= 0.3


def test_open_loop_keeps_its_rate_and_its_times(server: Any) -> None:
    result = load.run(server.url + "/", rate=200, duration_s=1.0, connections=4)
    assert result.numbers.requests == 200
    assert result.achieved_rate >= 150  # this machine may be busy with other tests
    assert 100 <= result.usual_rate <= 400
    gaps = result.requests["intended_s"].sort_values().diff().dropna()  # answers may overtake
    assert ((gaps - 0.005).abs() < 1e-6).all()


def test_a_stall_shows_from_the_intended_send_time(server: Any) -> None:
    load.run(server.url + "/", connections=1, requests=1, duration_s=None)  # the server is warm
    server.stall(at_s=1.0, for_s=0.5)
    numbers = load.run(server.url + "/", rate=100, duration_s=3.0, connections=2).numbers
    assert numbers.requests == 300
    # 50 of 300 requests fall into the stall and wait 500, 490 … 10 ms: 10 of them at least 400 ms
    # counted from the sending, two would have waited; above, there is room for a busy machine
    assert 400 <= numbers.latency_ms["max"] <= 1500
    assert 370 <= numbers.latency_ms["p99"] <= 1400
    assert numbers.latency_ms["p50"] < 250


def test_failures_are_samples_by_kind(server: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = load.run(
            f"http://127.0.0.1:{free.getsockname()[1]}/", connections=2, requests=6, duration_s=None
        )
    assert refused.numbers.errors == {"connect": 6}
    assert "connect" in refused.messages["connect"].lower()
    assert load.run(server.url + "/cut", requests=3, duration_s=None).numbers.errors == {"empty_reply": 3}
    hung = load.run(server.url + "/hang", requests=2, duration_s=None, timeout_s=0.2)
    assert hung.numbers.errors == {"timeout": 2}
    failing = load.run(server.url + "/503", requests=5, duration_s=None)
    assert (failing.numbers.errors, failing.numbers.statuses) == ({}, {"503": 5})
    assert [each.metrics()["error_percent"] for each in (refused, failing)] == [100, 100]
    unknown = load.run("http://no-such-host.invalid/", requests=1, duration_s=None)
    assert unknown.numbers.errors == {"dns": 1}


def test_mix_by_weight_with_methods_headers_and_bodies(server: Any) -> None:
    mix = [
        load.Request(server.url + "/a", weight=3),
        load.Request(server.url + "/b", "POST", ("x-who: me",), b"hello", weight=1),
    ]
    result = load.run(mix, requests=100, duration_s=None, connections=3)
    posts = [head for head in server.heads if head.startswith("POST /b ")]
    assert len(posts) == 25
    assert all("x-who: me" in head for head in posts)
    assert server.bodies == [b"hello"] * 25
    assert result.requests["item"].value_counts().to_dict() == {0: 75, 1: 25}


def test_trace_headers_carry_the_recorded_ids(server: Any) -> None:
    result = load.run(server.url + "/", requests=40, duration_s=None, trace="both", sampled=0.5)
    sent: dict[str, bool] = {}
    for head in server.heads:
        fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        _, trace_id, span_id, flags = fields["traceparent"].split("-")
        assert (fields["x-b3-traceid"], fields["x-b3-spanid"]) == (trace_id, span_id)
        assert fields["x-b3-sampled"] == ("1" if flags == "01" else "0")
        sent[trace_id] = flags == "01"
    frame = result.requests
    assert dict(zip(frame["trace_id"], frame["sampled"], strict=True)) == sent
    assert len(sent) == 40
    assert 0 < sum(sent.values()) < 40


def test_workers_share_the_work_and_merge(server: Any) -> None:
    result = load.run(server.url + "/", requests=101, duration_s=None, connections=4, workers=2, trace="w3c")
    assert result.numbers.requests == len(server.heads) == 101
    assert result.histogram.count == 101
    assert result.requests["trace_id"].nunique() == 101
    assert set(result.requests["worker"]) == {0, 1}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"rate": 0}, "rate: 0"),
        ({"rate": -5}, "rate: -5"),
        ({"connections": 0}, "connections: 0"),
        ({"cacert": "/no/such.pem"}, "cacert: there is no file /no/such.pem"),
        ({"cert": "/etc/hostname"}, "needs both"),
        ({"resolve": ["nonsense"]}, "HOST:PORT:ADDRESS"),
        ({"streams": 4}, "need http 2"),
        ({"url": "ftp://x/"}, "url: 'ftp://x/'"),
        ({"duration_s": 0}, "duration: 0"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_sent(changes: dict[str, Any], finding: str) -> None:
    with pytest.raises(ParameterError) as caught:
        load.run(**{"url": "http://127.0.0.1:9/", **changes})
    assert finding in str(caught.value)
    assert caught.value.exit_code == 2
