"""The only polling loop of meshlib: it keeps the last reason and says it when it gives up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from meshlib.errors import WaitTimeout

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a probe to say that the condition does not hold yet, and what it saw instead."""


def until(
    probe: Callable[[], T],
    what: str,
    *,
    timeout_s: float = 60.0,
    interval_s: float = 0.05,
    max_interval_s: float = 1.0,
    fix: str | None = None,
) -> T:
    """Call `probe` until it returns; a `NotYet` means once more.

    The pause grows by half from `interval_s` to `max_interval_s`.  Raises `WaitTimeout` with the last
    `NotYet` text after `timeout_s` seconds; any other exception passes through at once.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = interval_s
    while True:
        try:
            return probe()
        except NotYet as reason:
            last = str(reason) or "nothing yet"
            if time.monotonic() + pause_s > deadline:
                raise WaitTimeout(what, timeout_s, last, fix=fix) from reason
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, max_interval_s)
