"""HTTP/2 in bytes: what others understand of our requests, and answers that are whole however they come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hypothesis import given
from hypothesis import strategies as st

from meshlib.load import http2
from meshlib.load.http2 import frame
from meshlib.load.plan import Plan, Request

OK = b"\x88"
GREETING = frame(http2.SETTINGS, 0, 0, b"")
HEADERS, DATA = http2.HEADERS, http2.DATA
END, WHOLE, BOTH = http2.END_STREAM, http2.END_HEADERS, http2.ONE_FRAME
ANSWERS = [  # frames of stream 1, status, size
    (frame(HEADERS, BOTH, 1, OK), 200, 0),
    (frame(HEADERS, WHOLE, 1, OK + b"\x0f\x2b\x01x") + frame(DATA, END, 1, b"ok\n"), 200, 3),
    (frame(HEADERS, WHOLE, 1, b"\x08\x03503") + frame(DATA, 0, 1, b"ab") + frame(DATA, END, 1, b""), 503, 2),
    (frame(HEADERS, WHOLE, 1, b"\x08\x03103") + frame(HEADERS, BOTH, 1, b"\x8d"), 404, 0),
    (
        frame(HEADERS, WHOLE | http2.PADDED, 1, b"\2" + OK + b"\0\0") + frame(DATA, 9, 1, b"\3abc\0\0\0"),
        200,
        3,
    ),
    (frame(HEADERS, BOTH | http2.PRIORITIZED, 1, b"\0\0\0\0\x10" + OK), 200, 0),
    (frame(HEADERS, END, 1, b"\x08") + frame(9, 0, 1, b"\x03") + frame(9, WHOLE, 1, b"429"), 429, 0),
    (frame(HEADERS, WHOLE, 1, OK) + frame(DATA, 0, 1, b"a") + frame(HEADERS, BOTH, 1, b"\0\1a\1b"), 200, 1),
    (frame(http2.PING, 0, 0, b"12345678") + frame(HEADERS, BOTH, 1, OK), 200, 0),
    (frame(99, 255, 1, b"unknown") + frame(HEADERS, BOTH, 1, OK), 200, 0),
    (frame(HEADERS, BOTH, 77, OK) + frame(DATA, END, 77, b"x") + frame(HEADERS, BOTH, 1, OK), 200, 0),
]


def connection(requests: int = 1) -> http2.Connection:
    made = http2.Connection()
    for slot in range(requests):
        made.request(slot, b"block")
    made.feed(GREETING, 1, [])
    made.out.clear()
    return made


@pytest.mark.parametrize(("data", "status", "size"), ANSWERS)
@given(cuts=st.lists(st.integers(0, 80), max_size=6))
def test_an_answer_is_whole_however_it_is_cut(data: bytes, status: int, size: int, cuts: list[int]) -> None:
    made, ended = connection(), list[http2.Stream]()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for number, (a, b) in enumerate(pairwise(places)):
        assert not ended or a == len(data)
        made.feed(data[a:b], 10 + number, ended)
    (stream,) = ended
    assert (stream.slot, stream.status, stream.size, stream.error) == (0, status, size, -1)
    assert 10 <= stream.first_ns <= 10 + number
    assert made.answered
    assert not made.open


def test_a_ping_is_answered_and_settings_are_taken() -> None:
    made = connection()
    made.feed(frame(http2.PING, 0, 0, b"12345678") + frame(http2.PING, http2.ACK, 0, b"87654321"), 1, [])
    made.feed(frame(http2.SETTINGS, 0, 0, b"\0\3\0\0\0\7" + b"\0\4\0\0\0\1"), 1, [])
    assert made.out == [
        frame(http2.PING, http2.ACK, 0, b"12345678"),
        frame(http2.SETTINGS, http2.ACK, 0, b""),
    ]
    assert made.most == 7


def test_a_server_that_leaves_says_what_it_did_not_look_at() -> None:
    made, ended = connection(3), list[http2.Stream]()
    made.feed(frame(http2.GOAWAY, 0, 0, b"\0\0\0\3\0\0\0\0bye"), 1, ended)
    assert [stream.slot for stream in made.refused] == [2]
    assert made.leaving == "GOAWAY NO_ERROR bye"
    made.feed(frame(HEADERS, BOTH, 3, OK), 1, ended)
    assert [stream.slot for stream in ended] == [1]


def test_streams_that_are_reset() -> None:
    made, ended = connection(2), list[http2.Stream]()
    made.feed(
        frame(http2.RST_STREAM, 0, 1, b"\0\0\0\7") + frame(http2.RST_STREAM, 0, 3, b"\0\0\0\2"), 1, ended
    )
    assert [stream.slot for stream in made.refused] == [0]
    assert [(stream.slot, http2.name_of(stream.error)) for stream in ended] == [(1, "INTERNAL_ERROR")]
    assert http2.name_of(77) == "0x4d"


def test_what_is_cancelled_is_passed_over() -> None:
    made, ended = connection(2), list[http2.Stream]()
    assert made.cancel(0) is not None
    assert made.cancel(0) is None
    assert made.out == [frame(http2.RST_STREAM, 0, 1, b"\0\0\0\x08")]
    late = frame(HEADERS, WHOLE, 1, OK) + frame(DATA, END, 1, b"late") + frame(HEADERS, BOTH, 3, OK)
    made.feed(late, 1, ended)
    assert [stream.slot for stream in ended] == [1]


def test_the_windows_are_opened_again() -> None:
    made = connection()
    made.feed(frame(HEADERS, WHOLE, 1, OK), 1, [])
    made.open[1].size = made._received = http2.REFILL - 1
    made.feed(frame(DATA, 0, 1, b"ab"), 1, [])
    made.feed(frame(DATA, 0, 1, b"ab"), 1, [])
    stream, whole = http2.REFILL, http2.REFILL + 1
    sizes = [(1, stream.to_bytes(4, "big")), (0, whole.to_bytes(4, "big"))]
    assert made.out == [frame(http2.WINDOW_UPDATE, 0, number, size) for number, size in sizes]


@pytest.mark.parametrize(
    ("greeted", "data"),
    [
        (False, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (False, frame(http2.PING, 0, 0, b"12345678")),
        (False, frame(http2.SETTINGS, http2.ACK, 0, b"")),
        (True, frame(HEADERS, BOTH, 1, b"")),
        (True, frame(HEADERS, BOTH, 1, b"\x82")),
        (True, frame(HEADERS, BOTH | http2.PADDED, 1, b"\x09ab")),
        (True, frame(DATA, http2.PADDED, 1, b"")),
        (True, frame(HEADERS, 0, 1, OK) + frame(DATA, 0, 1, b"")),
        (True, frame(HEADERS, 0, 1, OK) + frame(http2.CONTINUATION, WHOLE, 3, b"")),
        (True, frame(http2.CONTINUATION, WHOLE, 1, b"")),
        (True, frame(http2.PUSH_PROMISE, WHOLE, 1, b"\0\0\0\2")),
        (True, b"\xff\xff\xff\0\0\0\0\0\1"),
    ],
)
def test_what_is_no_http2(greeted: bool, data: bytes) -> None:
    made = connection() if greeted else http2.Connection()
    with pytest.raises(http2.Malformed):
        made.feed(data, 1, [])


@given(
    st.binary(max_size=200),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.binary(max_size=20))),
)
def test_any_bytes_are_frames_or_none(data: bytes, frames: list[tuple[int, int, bytes]]) -> None:
    for text in (data, b"".join(frame(kind, flags, 1, payload) for kind, flags, payload in frames)):
        made, ended = connection(), list[http2.Stream]()
        try:
            made.feed(text, 1, ended)
        except http2.Malformed:
            continue
        assert len(ended) + len(made.open) + len(made.refused) == 1


def test_the_numbers_of_streams_end() -> None:
    made = connection()
    made._next = 2**31 - 3
    made.request(1, b"")
    assert not made.leaving
    made.request(2, b"")
    assert made.leaving


def fields_of(request: Request, lines: list[str]) -> dict[str, str]:
    """A request as the implementation of others reads it."""
    made = http2.Connection()
    made.request(0, http2.with_lines(http2.block(request), lines))
    server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    server.initiate_connection()
    (event,) = [e for e in server.receive_data(b"".join(made.out)) if isinstance(e, RequestReceived)]
    return dict(event.headers)


def test_requests_as_others_read_them() -> None:
    usual = {":scheme": "https", ":authority": "a.test", "accept": "*/*", "user-agent": "meshlib-load"}
    plain = Request("https://a.test/x/y?q=1%20#part")
    assert fields_of(plain, []) == usual | {":method": "GET", ":path": "/x/y?q=1%20"}
    own = Request(
        "https://a.test:8443?q", "delete", ("X-One: 1", "accept:text/html", "user-agent:", "x-none:")
    )
    assert fields_of(own, ["traceparent: 00-a: b"]) == {
        ":scheme": "https",
        ":authority": "a.test:8443",
        ":method": "DELETE",
        ":path": "/?q",
        "x-one": "1",
        "accept": "text/html",
        "traceparent": "00-a: b",
    }
    long = Request("https://a.test/" + "p" * 5000, headers=("x-long: " + "v" * 9000,))
    assert len(fields_of(long, [])["x-long"]) == 9000


@pytest.mark.parametrize(
    "changes",
    [
        {"http": "1.1"},
        {"keepalive": False},
        {"requests": (Request("https://a.test/"), Request("https://b.test/"))},
        {"requests": (Request("https://a.test/", "POST", body=b"x"),)},
        {"requests": (Request("https://a.test/", headers=("host: b.test",)),)},
        {"requests": (Request("https://a.test/", headers=("connection: close",)),)},
        {"requests": (Request("https://a.test/" + "p" * 16_000),)},
        {"requests": (Request("https://a.test/../x"),)},
    ],
)
def test_what_libcurl_must_write_itself(changes: dict[str, Any]) -> None:
    plan = Plan((Request("https://a.test/"),), http="2")
    assert http2.suits(plan)
    assert not http2.suits(msgspec.structs.replace(plan, **changes))
