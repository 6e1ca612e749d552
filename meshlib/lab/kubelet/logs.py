"""Container logs: what a process writes becomes `<time> <line>` in a file that is rotated by size."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

ROTATE_BYTES = 10 * 2**20  # containerLogMaxSize of a kubelet
LONGEST_LINE = 64 * 2**10


def timestamp(ns: int) -> bytes:
    """`2026-11-23T02:59:21.123456789Z`, always 30 characters, from nanoseconds of the epoch."""
    whole, part = divmod(ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode() + b".%09dZ" % part


class LogFile:
    """Appends timed lines to `path`; past `ROTATE_BYTES` the file moves to `<path>.1`, whose content is
    lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._rest = b""
        self._failed = False

    def write(self, data: bytes) -> None:
        """Take bytes as they come; whole lines are written at once, a rest waits for its line end."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            self._append(lines)

    def _append(self, lines: list[bytes]) -> None:
        stamp = timestamp(time.time_ns()) + b" "
        block = stamp + (b"\n" + stamp).join(lines) + b"\n"
        try:
            if self._size > ROTATE_BYTES:
                self._file.close()
                self.path.rename(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab", buffering=0)
                self._size = 0
            self._size += self._file.write(block)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("lines of %s are lost: %s", self.path, error)
            self._failed = True

    def close(self) -> None:
        if self._rest:
            self._append([self._rest])
            self._rest = b""
        self._file.close()


class LogPipe(asyncio.Protocol):
    """The reading end of a container's stdout and stderr."""

    def __init__(self, file: LogFile) -> None:
        self._log = file
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._log.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._log.close()
        self.closed.set()
