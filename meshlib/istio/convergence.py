"""How long a change takes from the API until it shows at the gateway: applied, then asked for until it is
there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from meshlib import wait
from meshlib.probe import Evidence


@dataclass(frozen=True)
class Convergence:
    """When the answer first was as wanted (`ms` after the change was accepted), after how many tries."""

    ms: float
    tries: int
    evidence: Evidence


def until_answer(
    ask: Callable[[], Evidence],
    wanted: Callable[[Evidence], bool],
    what: str,
    *,
    started: float | None = None,
    timeout_s: float = 30.0,
) -> Convergence:
    """Ask until the answer is as `wanted`; `started` is `time.monotonic()` of the change, by default now.

    Raises `WaitTimeout` with the last answer.
    """
    begin = time.monotonic() if started is None else started
    tries = 0

    def probe() -> Convergence:
        nonlocal tries
        tries += 1
        evidence = ask()
        if not wanted(evidence):
            raise wait.NotYet(evidence.error or f"HTTP {evidence.status}")
        return Convergence((time.monotonic() - begin) * 1000, tries, evidence)

    return wait.until(probe, what, timeout_s=timeout_s, interval_s=0.002, max_interval_s=0.2)


def status(code: int) -> Callable[[Evidence], bool]:
    """The answer has this HTTP status."""
    return lambda evidence: evidence.status == code
