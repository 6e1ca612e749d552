"""Drives a multi stack by its sockets: only connections with news cost anything, however many there are.

`curl_multi_perform` looks at every transfer and `curl_multi_wait` at every socket each time; a client that
gets its answers singly, as on a busy machine, then pays for all connections with each of them.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator

import pycurl

IN, REMOVE = pycurl.POLL_IN, pycurl.POLL_REMOVE
READ, WRITE = select.POLLIN, select.POLLOUT  # epoll's have the same values
WANTED = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: READ,
    pycurl.POLL_OUT: WRITE,
    pycurl.POLL_INOUT: READ | WRITE,
}
# An error or a hang-up is for libcurl to find out by reading and writing.
NEWS = [
    ((event & ~WRITE) and pycurl.CSELECT_IN) | ((event & ~READ) and pycurl.CSELECT_OUT) for event in range(64)
]
EXACT_S = 0.05
SOCKOPT_OK: int = pycurl.SOCKOPT_OK


class Sockets:
    """The sockets of one `CurlMulti`.

    libcurl lets go of a connection after each answer and asks for it again with the next request. It stays
    with the poller meanwhile: taking it off and on again would be two system calls a request.
    """

    def __init__(self, multi: pycurl.CurlMulti) -> None:
        self._act, self._timeout, self._read = multi.socket_action, multi.timeout, multi.info_read
        self._watched: dict[int, int] = {}  # what libcurl wants; REMOVE: idle, still polled
        self._adopted: dict[int, int] = {}  # socket → slot
        self._polled: _Epoll | _Poll = _Epoll() if hasattr(select, "epoll") else _Poll()
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def _watch(self, action: int, fd: int, _multi: object, _data: object) -> None:
        watched = self._watched
        was = watched.get(fd)
        if (was == IN and action == REMOVE) or (was == REMOVE and action == IN):
            watched[fd] = action
        elif action == REMOVE:
            self._forget(fd)
        elif was is None:
            watched[fd] = action
            self._polled.register(fd, WANTED[action])
        elif was != action:
            watched[fd] = action
            self._polled.modify(fd, WANTED[action])

    def opened(self, fd: int, _purpose: int) -> int:
        """For SOCKOPTFUNCTION: whatever had the number `fd` before was closed."""
        self._watched.pop(fd, None)
        return SOCKOPT_OK

    def adopt(self, fd: int, slot: int) -> None:
        """Take over a connection that libcurl has opened: its news goes to the caller of `step`."""
        known = self._watched.pop(fd, None) is not None
        self._adopted[fd] = slot
        (self._polled.modify if known else self._polled.register)(fd, READ)

    def release(self, fd: int) -> None:
        """Let go of an adopted connection, which is about to be closed."""
        del self._adopted[fd]
        self._polled.unregister(fd)

    def also_write(self, fd: int, wanted: bool) -> None:
        """Whether there is news when an adopted connection takes bytes again."""
        self._polled.modify(fd, READ | WRITE if wanted else READ)

    def _forget(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            try:
                self._polled.unregister(fd)
            except OSError as error:  # closed while libcurl acted on another's news of the same step
                if error.errno not in (errno.EBADF, errno.ENOENT):
                    raise

    def step(self, wait_s: float, under_way: int) -> list[tuple[int, int]]:
        """Wait for news, `wait_s` at the longest, and let libcurl act on what is its own.

        `under_way` is the number of libcurl's transfers. Returns slot and event of adopted connections.
        libcurl is asked for its next timer once a step; a timer function would be called once a request.
        """
        act = self._act
        due_ms = self._timeout() if under_way else -1
        if due_ms == 0:  # transfers that were just added
            _, running = act(pycurl.SOCKET_TIMEOUT, 0)
            due_ms = self._timeout()
            if running < under_way:  # an answer was there as soon as its request was sent
                wait_s = 0
        if due_ms >= 0:
            wait_s = min(wait_s, due_ms / 1000)
        events = self._polled.poll(wait_s if wait_s > 0 else 0)
        watched, adopted = self._watched, self._adopted
        found: list[tuple[int, int]] = []
        for fd, event in events:
            state = watched.get(fd)
            if state is None and fd in adopted:
                found.append((adopted[fd], event))
            elif state == REMOVE:  # the server has closed an idle connection
                self._forget(fd)
            else:
                act(fd, NEWS[event & 63])
        if not events and due_ms >= 0:
            act(pycurl.SOCKET_TIMEOUT, 0)
        return found

    def finished(self) -> Iterator[tuple[pycurl.Curl, int, str]]:
        """Handles that libcurl is done with, each with its error code (0: none) and text."""
        left = 1
        while left:
            left, good, bad = self._read(1000)
            for handle in good:
                yield handle, 0, ""
            yield from bad

    def close(self) -> None:
        """Give the poller back; the sockets are libcurl's."""
        self._polled.close()


class _Epoll:
    """epoll with waits to the microsecond: its own are whole milliseconds, in which an open loop is due
    several times."""

    def __init__(self) -> None:
        self._made = select.epoll()
        self._own = [self._made.fileno()]
        self.register, self.modify, self.unregister = (
            self._made.register,
            self._made.modify,
            self._made.unregister,
        )
        self._poll = self._made.poll
        self.close = self._made.close

    def poll(self, wait_s: float) -> list[tuple[int, int]]:
        if 0 < wait_s < EXACT_S:
            select.select(self._own, (), (), wait_s)
            wait_s = 0
        return self._poll(wait_s)


class _Poll:
    """The same with poll(2), to the millisecond, where there is no epoll."""

    def __init__(self) -> None:
        made = select.poll()
        self.register, self.modify, self.unregister = made.register, made.modify, made.unregister
        self._poll = made.poll

    def poll(self, wait_s: float) -> list[tuple[int, int]]:
        return self._poll(wait_s * 1000)

    def close(self) -> None:
        """There is nothing to give back."""
