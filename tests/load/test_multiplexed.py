"""HTTP/2 against a server of others' making (h2), which answers as the path says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings

from meshlib import load, tls

HOST = "shop.lab.test"
BIG = 300_000


class Server:
    """HTTP/2 on loopback, a thread a connection. `requests` holds the headers of each request that came."""

    def __init__(self, context: ssl.SSLContext | None, streams: int) -> None:
        self.requests: list[dict[str, str]] = []
        self.connections = 0
        self.most_at_once = 0
        self.resets: list[int] = []
        self._context, self._streams = context, streams
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{HOST}:{self.port}"
        self.resolve = (f"{HOST}:{self.port}:127.0.0.1",)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), plain:
            wire = plain
            if self._context is not None:
                wire = self._context.wrap_socket(plain, server_side=True)
            _Talk(self, wire, self._streams).run()
            wire.shutdown(socket.SHUT_WR)
            while plain is wire and wire.recv(65_536):  # unread, it would reset the connection
                pass
            wire.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Talk:
    """One connection."""

    def __init__(self, server: Server, wire: socket.socket, streams: int) -> None:
        self._server, self._wire = server, wire
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        most = {SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        self._h2.local_settings = Settings(client=False, initial_values=most)
        self._left: dict[int, int] = {}  # bytes of large answers that the windows have not taken yet
        self._answered = 0
        self._open: set[int] = set()

    def run(self) -> None:
        self._h2.initiate_connection()
        self._flush()
        while data := self._wire.recv(65_536):
            asked: list[tuple[int, str]] = []
            for event in self._h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = dict(event.headers)
                    self._server.requests.append(headers)
                    self._open.add(event.stream_id)
                    asked.append((event.stream_id, headers[":path"]))
                    self._server.most_at_once = max(self._server.most_at_once, len(self._open))
                elif isinstance(event, StreamReset):
                    self._server.resets.append(event.stream_id)
                elif isinstance(event, WindowUpdated):
                    self._more()
                elif isinstance(event, ConnectionTerminated):
                    return
                assert not isinstance(event, StreamEnded) or event.stream_id in self._open
            for stream, path in asked:
                if not self._answer(stream, path):
                    return
            self._flush()

    def _flush(self) -> None:
        self._wire.sendall(self._h2.data_to_send())

    def _answer(self, stream: int, path: str) -> bool:
        """Whether the connection goes on."""
        first = self._server.connections == 1
        if path == "/refuse" and first and self._answered < 3:
            self._answered += 1
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            self._open.discard(stream)
            return True
        if path == "/reset":
            self._h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            return True
        if path == "/hang":
            return True
        if path == "/cut" or (path == "/cut-after-one" and first and self._answered):
            return False
        if path == "/garbage":
            self._wire.sendall(b"\xff" * 100)
            return True
        status = "503" if path == "/503" else "200"
        if path == "/early":
            self._h2.send_headers(stream, [(":status", "103"), ("link", "x")])
        long = [(f"x-{number}", "v" * 900) for number in range(50)] if path == "/long" else []
        self._h2.send_headers(stream, [(":status", status), ("server", "h2"), *long])
        if path == "/half":
            self._h2.send_data(stream, b"half")
            self._flush()
            return False
        if path == "/big":
            self._left[stream] = BIG
            self._more()
        else:
            self._h2.send_data(stream, b"ok\n", end_stream=True)
        self._answered += 1
        self._open.discard(stream)
        if path == "/leave" and self._answered == 5:
            self._h2.close_connection(last_stream_id=stream)
            self._flush()
            return False
        return True

    def _more(self) -> None:
        for stream in list(self._left):
            room = min(self._left[stream], self._h2.local_flow_control_window(stream), 16_384)
            while room:
                self._left[stream] -= room
                self._h2.send_data(stream, b"x" * room, end_stream=not self._left[stream])
                room = min(self._left[stream], self._h2.local_flow_control_window(stream), 16_384)
            if not self._left[stream]:
                del self._left[stream]


def context(folder: Path, protocols: list[str]) -> ssl.SSLContext:
    ca = tls.authority("a test CA", 2)
    pair = tls.leaf(ca, [HOST], 2)
    (folder / "ca.pem").write_text(ca.certificate)
    (folder / "pair.pem").write_text(pair.key + pair.certificate)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "pair.pem")
    made.set_alpn_protocols(protocols)
    return made


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Server]:
    made = Server(context(tmp_path, ["h2"]), streams=100)
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(None, streams=100)
    yield made
    made.close()


def run(server: Server, path: str = "/", **more: Any) -> load.LoadResult:
    plan = {
        "http": "2",
        "connections": 1,
        "streams": 4,
        "requests": 20,
        "duration_s": None,
        "timeout_s": 10.0,
    }
    return load.run(server.url + path, resolve=server.resolve, **plan | more)


def test_every_request_is_counted(secure: Server, tmp_path: Path) -> None:
    result = run(
        secure, requests=200, connections=3, streams=5, cacert=tmp_path / "ca.pem", trace="both", sampled=0.5
    )
    numbers, frame = result.numbers, result.requests
    assert (numbers.requests, numbers.statuses, numbers.errors, numbers.bytes) == (200, {"200": 200}, {}, 600)
    assert numbers.connections_opened == secure.connections == frame["new_connection"].sum() == 3
    opened = frame[frame["new_connection"]]
    assert (opened["tls_ms"] > 0).all()
    assert (opened["connect_ms"] <= opened["tls_ms"]).all()
    assert (opened["tls_ms"] <= opened["first_byte_ms"]).all()
    assert (frame["first_byte_ms"] <= frame["total_ms"]).all()
    assert set(frame["http"]) == {"2"}
    sent = {headers["traceparent"].split("-")[1]: headers for headers in secure.requests}
    assert {h["x-b3-sampled"] for h in sent.values()} == {"0", "1"}
    for trace_id, sampled in zip(frame["trace_id"], frame["sampled"], strict=True):
        headers = sent[trace_id]
        assert headers["x-b3-traceid"] == trace_id
        assert headers["traceparent"] == f"00-{trace_id}-{trace_id[16:]}-0{int(sampled)}"
        assert headers["x-b3-sampled"] == str(int(sampled))
        assert headers[":authority"] == f"{HOST}:{secure.port}"


def test_without_tls(server: Server) -> None:
    numbers = run(server, "/503").numbers
    assert (numbers.statuses, numbers.errors, numbers.connections_opened) == ({"503": 20}, {}, 1)


@pytest.mark.parametrize("path", ["/early", "/long", "/big"])
def test_answers_of_other_shapes(server: Server, path: str) -> None:
    result = run(server, path)
    assert (result.numbers.statuses, result.numbers.errors) == ({"200": 20}, {})
    assert result.numbers.bytes == 20 * (BIG if path == "/big" else 3)


def test_no_more_streams_than_the_server_takes() -> None:
    server = Server(None, streams=3)
    try:
        numbers = run(server, streams=10, requests=100).numbers
        assert (numbers.statuses, numbers.errors, len(server.requests)) == ({"200": 100}, {}, 100)
        assert 2 <= server.most_at_once <= 3
    finally:
        server.close()


def test_what_a_server_does_not_look_at_is_sent_again(server: Server) -> None:
    numbers = run(server, "/refuse").numbers
    assert (numbers.requests, numbers.statuses, numbers.errors) == (20, {"200": 20}, {})
    assert len(server.requests) == 23


def test_a_server_that_leaves_is_left(server: Server) -> None:
    numbers = run(server, "/leave", requests=50).numbers
    assert (numbers.requests, numbers.statuses, numbers.errors) == (50, {"200": 50}, {})
    assert numbers.connections_opened == server.connections >= 10


def test_a_connection_closed_between_requests_is_opened_anew(server: Server) -> None:
    numbers = run(server, "/cut-after-one", streams=1).numbers
    assert (numbers.statuses, numbers.errors) == ({"200": 20}, {})
    assert numbers.connections_opened == server.connections == 2


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("/reset", "http2_stream", "INTERNAL_ERROR"),
        ("/cut", "empty_reply", "closed the connection"),
        ("/half", "short_body", "after 4 bytes"),
        ("/garbage", "http2", "not a frame of HTTP/2"),
        ("/hang", "timeout", "timed out after"),
    ],
)
def test_failures_are_samples(server: Server, path: str, kind: str, says: str) -> None:
    result = run(server, path, requests=6, streams=1, timeout_s=0.5)
    assert result.numbers.errors == {kind: 6}
    assert says in result.messages[kind]
    assert len(result.requests) == 6
    assert bool(server.resets) == (kind == "timeout")


def test_a_refused_port_and_an_unknown_name() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{free.getsockname()[1]}/"
        refused = load.run(url, http="2", connections=2, requests=4, duration_s=None)
    assert refused.numbers.errors == {"connect": 4}
    unknown = load.run("https://no-such-host.invalid/", http="2", requests=2, duration_s=None)
    assert unknown.numbers.errors == {"dns": 2}


def test_certificates_are_verified(secure: Server, tmp_path: Path) -> None:
    other = tls.authority("another CA", 2)
    (tmp_path / "other.pem").write_text(other.certificate)
    untrusted = run(secure, requests=3, cacert=tmp_path / "other.pem")
    assert untrusted.numbers.errors == {"certificate_untrusted": 3}
    assert "self-signed" in untrusted.messages["certificate_untrusted"] or "issuer" in str(untrusted.messages)
    url = f"https://127.0.0.1:{secure.port}/"
    wrong = load.run(url, http="2", requests=3, duration_s=None, cacert=tmp_path / "ca.pem")
    assert wrong.numbers.errors == {"certificate_name": 3}
    assert not secure.requests


def test_files_that_are_of_no_use(secure: Server, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    assert run(secure, requests=2, cacert=tmp_path / "junk.pem").numbers.errors == {"ca_file": 2}
    junk = {"cert": tmp_path / "junk.pem", "key": tmp_path / "junk.pem", "cacert": tmp_path / "ca.pem"}
    result = run(secure, requests=2, **junk)
    assert result.numbers.errors == {"client_certificate": 2}
    assert "junk.pem" in result.messages["client_certificate"]


@pytest.mark.parametrize("body", [None, b"x"])  # by our wire, and by libcurl's
def test_a_server_without_http2_is_said(tmp_path: Path, body: bytes | None) -> None:
    made = context(tmp_path, ["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with contextlib.suppress(ssl.SSLError), made.wrap_socket(plain, server_side=True) as wire:
                    while wire.recv(65_536):
                        wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    request = load.Request(f"https://{HOST}:{port}/", "GET" if body is None else "POST", body=body)
    plan = load.Plan(
        (request,), http="2", connections=1, max_requests=2, duration_s=None, cacert=str(tmp_path / "ca.pem"),
        resolve=(f"{HOST}:{port}:127.0.0.1",), timeout_s=5.0,
    )  # fmt: skip
    result = load.execute(plan)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert result.numbers.errors == {"http2": 2}
    assert "does not speak HTTP/2" in result.messages["http2"]


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        result = load.run(url, http="2", streams=2, requests=4, duration_s=None, timeout_s=0.4)
    assert result.numbers.errors == {"timeout": 4}
    assert time.monotonic() - began < 10


def test_an_open_loop_keeps_its_rate(server: Server) -> None:
    result = run(server, requests=None, rate=300, duration_s=1.0)
    assert (result.numbers.requests, result.numbers.errors) == (300, {})
    assert result.achieved_rate >= 200  # this machine may be busy with other tests
