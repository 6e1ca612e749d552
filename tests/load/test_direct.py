"""Connections of our own: what comes of a server that answers in pieces, wrongly, late or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meshlib import load

Talk = Callable[[socket.socket, int], None]
Serve = Callable[[Talk], str]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that does what `talk(connection, its number)` does; ended with the test."""
    listeners: list[socket.socket] = []

    def start(talk: Talk) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, talk), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield start
    for each in listeners:
        each.shutdown(socket.SHUT_RDWR)
        each.close()


def _accept(listener: socket.socket, talk: Talk) -> None:
    number = 0
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(connection, talk, number), daemon=True).start()
        number += 1


def _talk(connection: socket.socket, talk: Talk, number: int) -> None:
    with connection:
        try:
            talk(connection, number)
        except OSError:
            return


def _asked(connection: socket.socket) -> bool:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        piece = connection.recv(65536)
        if not piece:
            return False
        data += piece
    return True


def test_an_answer_in_pieces(serve: Serve) -> None:
    def talk(connection: socket.socket, _: int) -> None:
        while _asked(connection):
            for piece in (
                b"HTTP/1.1 200 OK\r\ntransfer-enc",
                b"oding: chunked\r\n\r\n5\r\nhel",
                b"lo\r\n0\r\n\r\n",
            ):
                connection.sendall(piece)
                time.sleep(0.02)

    numbers = load.run(serve(talk), connections=2, requests=6, duration_s=None).numbers
    assert (numbers.statuses, numbers.errors, numbers.bytes) == ({"200": 6}, {}, 30)
    assert numbers.connections_opened == 2
    assert numbers.latency_ms["p50"] >= 40


def test_a_body_that_ends_with_the_connection(serve: Serve) -> None:
    def talk(connection: socket.socket, _: int) -> None:
        if _asked(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000)

    numbers = load.run(serve(talk), connections=1, requests=3, duration_s=None).numbers
    assert (numbers.statuses, numbers.errors, numbers.bytes) == ({"200": 3}, {}, 600_000)
    assert numbers.connections_opened == 3


def test_a_connection_closed_between_requests_is_opened_anew(serve: Serve) -> None:
    def talk(connection: socket.socket, _: int) -> None:
        _asked(connection)
        connection.sendall(OK)
        _asked(connection)  # closed as the next request comes

    result = load.run(serve(talk), connections=1, requests=4, duration_s=None)
    assert (result.numbers.statuses, result.numbers.errors) == ({"200": 4}, {})
    assert result.numbers.connections_opened == 4
    assert result.requests["new_connection"].all()


def nothing(connection: socket.socket, _: int) -> None:
    _asked(connection)


def half(connection: socket.socket, _: int) -> None:
    _asked(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")


def other(connection: socket.socket, _: int) -> None:
    connection.sendall(b"SSH-2.0-x\r\n")
    _asked(connection)


def silent(connection: socket.socket, _: int) -> None:
    _asked(connection)
    time.sleep(2)


@pytest.mark.parametrize(
    ("talk", "kind", "says"),
    [
        (nothing, "empty_reply", "Empty reply from server"),
        (half, "short_body", "the connection ended after 4 bytes of the body"),
        (other, "protocol", "not an answer of HTTP/1.1: b'SSH-2.0-x"),
        (silent, "timeout", "timed out after"),
    ],
)
def test_failures_are_samples(serve: Serve, talk: Talk, kind: str, says: str) -> None:
    result = load.run(serve(talk), connections=2, requests=4, duration_s=None, timeout_s=0.5)
    assert result.numbers.errors == {kind: 4}
    assert len(result.requests) == 4
    assert says in result.messages[kind]


def test_a_failure_has_nothing_of_the_answer_before_it(serve: Serve) -> None:
    def talk(connection: socket.socket, _: int) -> None:
        _asked(connection)
        connection.sendall(OK)
        _asked(connection)
        time.sleep(2)

    found = load.run(serve(talk), connections=1, requests=2, duration_s=None, timeout_s=0.5).requests
    assert found["error"].tolist() == ["", "timeout"]
    assert found["status"].tolist() == [200, 0]
    assert found["bytes"].tolist() == [3, 0]
    assert found["first_byte_ms"].tolist()[1] == 0


def test_a_body_larger_than_the_socket_takes(serve: Serve) -> None:
    size = 8_000_000

    def talk(connection: socket.socket, _: int) -> None:
        while True:
            left = size
            data = b""
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            left -= len(data.partition(b"\r\n\r\n")[2])
            time.sleep(0.05)
            while left:
                left -= len(connection.recv(min(left, 65536)))
            connection.sendall(OK)

    plan = load.Plan(
        (load.Request(serve(talk), method="POST", body=b"x" * size),),
        connections=2,
        max_requests=4,
        duration_s=None,
    )
    numbers = load.execute(plan).numbers
    assert (numbers.statuses, numbers.errors) == ({"200": 4}, {})
