"""How long a change takes from the API until it shows at the gateway: applied, then asked for until it is
there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from meshlib import wait
from meshlib.istio.site import Site
from meshlib.probe import Evidence

STREAK = 10


@dataclass(frozen=True, repr=False)
class Convergence:
    """When the answer first was as wanted (`ms` after the change was accepted), after how many tries."""

    ms: float
    tries: int
    evidence: Evidence

    def __repr__(self) -> str:
        return f"live after {self.ms:.0f} ms, seen by request {self.tries}"


def until_status(
    site: Site, path: str, status: int, *, started: float | None = None, timeout_s: float = 30.0
) -> Convergence:
    """Ask for `path` until the answer has this status; `started` is `time.monotonic()` of the change, by
    default now.

    Raises `WaitTimeout` with the last answer.
    """
    what = f"HTTP {status} for {path} through the gateway"
    ask, holds = (lambda: site.get(path)), (lambda seen: bool(seen.status == status))
    return until(ask, holds, what, started=started, timeout_s=timeout_s, streak=1)


def until(
    ask: Callable[[], Evidence],
    holds: Callable[[Evidence], bool],
    what: str,
    *,
    started: float | None = None,
    timeout_s: float = 30.0,
    streak: int = STREAK,
) -> Convergence:
    """Ask until the evidence is as wanted `streak` times in a row; `ms` is when the row began.

    A single good answer proves little after a listener has changed: an Envoy's worker threads take it up one
    after the other, and a connection that was open before serves one more request by the old rules.  Raises
    `WaitTimeout` with the last answer.
    """
    begin = time.monotonic() if started is None else started
    tries, row, since = 0, 0, 0.0

    def probe() -> Convergence:
        nonlocal tries, row, since
        while True:
            tries += 1
            evidence = ask()
            if not holds(evidence):
                row = 0
                raise wait.NotYet(evidence.outcome)
            row += 1
            if row == 1:
                since = time.monotonic()
            if row >= streak:
                return Convergence((since - begin) * 1000, tries, evidence)

    return wait.until(probe, what, timeout_s=timeout_s, interval_s=0.002, max_interval_s=0.2)
