"""The lab's HTTP server as a process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

Answer = tuple[int, dict[str, str], bytes]


class Server:
    def __init__(self, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshlib.lab.programs.httpserver"],
            env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", **env},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=15)
        return self.process.returncode


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "greeting.conf").write_text("Welcome to gohttpserver\n")
    made = Server(MESHLIB_MOUNTS=json.dumps({"/etc/conf": str(tmp_path)}), VERSION="v1.3")
    yield made
    made.stop()


def test_the_routes(server: Server, tmp_path: Path) -> None:
    status, headers, body = server.get("/healthz")
    assert (status, body, headers["content-type"]) == (200, b"ok\n", "text/plain; charset=utf-8")
    assert server.get("/getVersion")[2] == b"v1.3\n"
    assert server.get("/")[2] == b"Welcome to gohttpserver\n"
    (tmp_path / "greeting.conf").write_text("changed\n")
    assert server.get("/")[2] == b"changed\n"
    assert server.get("/nowhere")[0] == 404
    assert server.get("/healthz", method="DELETE")[0] == 405
    assert server.get("/healthz", method="HEAD")[2] == b""
    assert json.loads(server.get("/headers", {"X-Forwarded-Client-Cert": "By=a"})[2])[
        "x-forwarded-client-cert"
    ] == ("By=a")


def test_metrics_count_what_was_answered(server: Server) -> None:
    for _ in range(3):
        server.get("/healthz")
    text = server.get("/metrics")[2].decode()
    assert 'http_requests_total{path="/healthz",code="200"} 3' in text
    assert 'http_request_duration_seconds_bucket{path="/healthz",le="+Inf"} 3' in text
    assert 'http_request_duration_seconds_count{path="/healthz"} 3' in text


def test_metrics_have_no_rows_of_the_callers_making(server: Server) -> None:
    for number in range(3):
        server.get(f'/made-up-{number}"', method="DELETE")
        server.get(f"/made-up-{number}?fail_rate=1")
    text = server.get("/metrics")[2].decode()
    assert "made-up" not in text
    assert 'http_requests_total{path="other",code="405"} 3' in text
    assert 'http_requests_total{path="other",code="503"} 3' in text


def test_delay_and_failure_as_asked(server: Server) -> None:
    assert server.get("/healthz?fail_rate=1")[0] == 503
    assert server.get("/healthz", {"x-fail-rate": "1"})[0] == 503
    assert server.get("/healthz?fail_rate=0")[0] == 200
    server.get("/healthz?delay_ms=60")
    text = server.get("/metrics")[2].decode()
    assert 'http_request_duration_seconds_bucket{path="/healthz",le="0.05"} 3' in text
    assert 'http_request_duration_seconds_count{path="/healthz"} 4' in text


def test_an_upstream_gets_the_trace_headers_and_no_others() -> None:
    back = Server()
    front = Server(UPSTREAM=f"http://127.0.0.1:{back.port}/headers")
    try:
        sent = {
            "x-request-id": "r1",
            "b3": "0",
            "x-b3-traceid": "abc",
            "traceparent": "t",
            "cookie": "secret",
        }
        status, _, body = front.get("/call", sent)
        seen = json.loads(body.split(b"\n", 1)[1])
        assert status == 200
        assert {k: seen[k] for k in ("x-request-id", "b3", "x-b3-traceid", "traceparent")} == {
            k: v for k, v in sent.items() if k != "cookie"
        }
        assert "cookie" not in seen
        assert front.get("/call?url=ftp://x")[0] == 400
        assert front.get("/call?url=http://127.0.0.1:1/")[0] == 502
    finally:
        front.stop()
        back.stop()


def test_sigterm_lets_a_request_end_and_exits_with_0() -> None:
    server = Server()
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(server.get("/healthz?delay_ms=400")[0]))
    asking.start()
    threading.Event().wait(0.15)
    server.process.send_signal(signal.SIGTERM)
    asking.join(timeout=10)
    server.process.communicate(timeout=10)
    assert found == [200]
    assert server.process.returncode == 0


def test_what_is_no_http_is_refused(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.connect()
    connection.sock.sendall(b"\x16\x03\x01 not http\r\n\r\n")
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 400 ")
    connection.close()
