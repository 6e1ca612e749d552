"""Both pollers tell the same of a real pair of sockets, and libcurl hears of it in its own terms."""

from __future__ import annotations

import select
import socket
from typing import Any

import pycurl
import pytest

from meshlib.load import sockets

BOTH = pycurl.CSELECT_IN | pycurl.CSELECT_OUT
POLLERS = [sockets._Poll, *([sockets._Epoll] if hasattr(select, "epoll") else [])]


@pytest.mark.parametrize("poller", POLLERS)
def test_pollers(poller: Any) -> None:
    polled = poller()
    here, there = socket.socketpair()
    with here, there:
        polled.register(here.fileno(), sockets.READ)
        assert polled.poll(0.001) == []
        there.send(b"x")
        assert polled.poll(0.01) == [(here.fileno(), sockets.READ)]
        polled.modify(here.fileno(), sockets.WRITE)
        assert polled.poll(1.0) == [(here.fileno(), sockets.WRITE)]
        polled.unregister(here.fileno())
        assert polled.poll(0) == []
    polled.close()


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (select.POLLIN, pycurl.CSELECT_IN),
        (select.POLLOUT, pycurl.CSELECT_OUT),
        (select.POLLIN | select.POLLOUT, BOTH),
        (select.POLLHUP, BOTH),
        (select.POLLERR, BOTH),
    ],
)
def test_what_libcurl_is_told(event: int, told: int) -> None:
    assert sockets.NEWS[event] == told
