"""Signals and deadlines: the main thread waits for work done elsewhere and stops it when it must."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from types import FrameType

from meshlib.wait import T

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung-up"}
POLL_S = 0.1
GRACE_S = 5.0


class Stopped(Exception):
    """The run must end: `outcome` is interrupted, terminated, hung-up or deadline."""

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome
        super().__init__(outcome)


class Supervisor:
    """Remembers the first reason to stop.  `deadline` is monotonic seconds."""

    def __init__(self, deadline: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.deadline = deadline
        self._monotonic_s = monotonic_s
        self._signal: str | None = None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Catches the signals in `SIGNALS` while inside; they are remembered, not raised."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = self._signal or SIGNALS[signal.Signals(number)]

    def why_stop(self) -> str | None:
        """The outcome to end with, None to go on."""
        return self._signal or ("deadline" if self._monotonic_s() > self.deadline else None)

    def check(self) -> None:
        """Raises `Stopped` if it is time to stop."""
        if why := self.why_stop():
            raise Stopped(why)

    def wait(self, work: Future[T], on_stop: Callable[[str], None], on_kill: Callable[[], None]) -> T:
        """The result of `work`.  To stop it: `on_stop`, then `on_kill` if that was not enough."""
        stopping_since: float | None = None
        killed = False
        while True:
            try:
                return work.result(timeout=POLL_S)
            except NotDone:
                if work.done():
                    raise
            now = self._monotonic_s()
            if stopping_since is None:
                if why := self.why_stop():
                    stopping_since = now
                    on_stop(why)
            elif not killed and now - stopping_since > GRACE_S:
                killed = True
                on_kill()
