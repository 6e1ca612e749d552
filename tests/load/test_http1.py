"""HTTP/1.1 in bytes: the same requests as libcurl writes, and answers that are whole however they come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib import load
from meshlib.load import http1
from meshlib.load.plan import Plan, Request

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = [  # bytes, to HEAD, status, size, closes
    (HEAD + b"Content-Length: 3\r\n\r\nok\n", False, 200, 3, False),
    (HEAD + b"content-length:0\r\nconnection: close\r\n\r\n", False, 200, 0, True),
    (HEAD + b"content-length: 3\r\n\r\n", True, 200, 0, False),
    (b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n", False, 204, 0, False),
    (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", False, 304, 0, False),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", False, 503, 2, False),
    (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + HEAD + b"content-length: 2\r\n\r\nhi", False, 200, 2, False),
    (
        HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        False,
        200,
        13,
        False,
    ),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n\r\r\n0\r\ntrailer: 1\r\n\r\n", False, 200, 1, False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", False, 200, 1, True),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx", False, 200, 1, False),
]


@pytest.mark.parametrize(("data", "to_head", "status", "size", "closes"), ANSWERS)
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_an_answer_is_whole_however_it_is_cut(
    data: bytes, to_head: bool, status: int, size: int, closes: bool, cuts: list[int]
) -> None:
    answer = http1.Answer()
    for _ in range(2):  # the second on the same connection
        answer.begin(to_head)
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[a:b] for a, b in pairwise(places) if a < b]
        assert [answer.feed(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert (answer.status, answer.size, answer.closes) == (status, size, closes)


def test_a_body_that_ends_with_the_connection() -> None:
    answer = http1.Answer()
    assert not answer.feed(HEAD + b"\r\nsome")
    assert not answer.feed(b" more")
    assert (answer.ended(), answer.size, answer.closes) == (True, 9, True)
    answer.begin(False)
    assert not answer.feed(HEAD + b"content-length: 9\r\n\r\nsome")
    assert not answer.ended()


def test_more_than_was_announced_ends_the_connection() -> None:
    answer = http1.Answer()
    assert answer.feed(HEAD + b"content-length: 2\r\n\r\nhi there")
    assert (answer.size, answer.closes) == (2, True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        HEAD + b"content-length: many\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"x: " + b"y" * http1.LONGEST_HEAD,
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(http1.Malformed):
        http1.Answer().feed(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    for start in (b"", HEAD, HEAD + b"transfer-encoding: chunked\r\n\r\n"):
        try:
            whole = http1.Answer().feed(start + data)
        except http1.Malformed:
            continue
        assert whole in (True, False)


REQUESTS = [
    Request("http://HOST/"),
    Request("http://HOST/a/b?x=1&y=%20#part"),
    Request("http://HOST?q"),
    Request("http://HOST/", method="DELETE", headers=("x-one: 1", "X-Two:2", "accept: text/html")),
    Request("http://HOST/", headers=("host: other.example", "user-agent:", "x-none:")),
    Request("http://HOST/", method="POST", body=b"a=1&b=2"),
    Request("http://HOST/", method="PUT", body=b"{}", headers=("content-type: application/json",)),
    Request("http://HOST/", method="HEAD"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: f"{each.method} {each.url[11:]}")
def test_the_same_request_as_libcurl_writes(server: Any, request_: Request) -> None:
    url = request_.url.replace("HOST", server.url.removeprefix("http://"))
    request_ = msgspec.structs.replace(request_, url=url)
    for keepalive in (True, False):
        plan = Plan(
            (request_,), connections=1, max_requests=1, duration_s=None, trace="both", keepalive=keepalive
        )
        assert http1.suits(plan) == keepalive
        result = load.execute(plan)
        assert (result.numbers.statuses, result.numbers.errors) == ({"200": 1}, {})
    ours, libcurls = (sorted(head.lower().splitlines()) for head in server.heads)
    ids = ("traceparent: ", "x-b3-traceid: ", "x-b3-spanid: ")
    assert [each for each in ours if not each.startswith(ids)] == [
        each for each in libcurls if not each.startswith(ids)
    ]
    assert len(server.bodies) in (0, 2)
    assert len(set(server.bodies)) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"http": "2"},
        {"keepalive": False},
        {"requests": (Request("http://a.test/"), Request("http://b.test/"))},
        {"requests": (Request("http://me:secret@a.test/"),)},
        {"requests": (Request("http://a.test/x/../y"),)},
        {"requests": (Request("http://a.test/ü"),)},
        {"requests": (Request("http://a.test/", headers=("connection: close",)),)},
        {"requests": (Request("http://a.test/", method="CONNECT"),)},
    ],
)
def test_what_libcurl_must_write_itself(changes: dict[str, Any]) -> None:
    plan = Plan((Request("http://a.test/"),))
    assert http1.suits(plan)
    assert not http1.suits(msgspec.structs.replace(plan, **changes))
