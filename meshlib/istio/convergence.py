"""How long a change takes from the API until it shows at the gateway: applied, then asked for until it is
there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meshlib import wait
from meshlib.istio.site import Site
from meshlib.probe import Evidence


@dataclass(frozen=True)
class Convergence:
    """When the answer first was as wanted (`ms` after the change was accepted), after how many tries."""

    ms: float
    tries: int
    evidence: Evidence = field(repr=False)


def until_status(
    site: Site, path: str, status: int, *, started: float | None = None, timeout_s: float = 30.0
) -> Convergence:
    """Ask for `path` until the answer has this status; `started` is `time.monotonic()` of the change, by
    default now.

    Raises `WaitTimeout` with the last answer.
    """
    what = f"HTTP {status} for {path} through the gateway"
    ask, holds = (lambda: site.get(path)), (lambda seen: bool(seen.status == status))
    return until(ask, holds, what, started=started, timeout_s=timeout_s)


def until(
    ask: Callable[[], Evidence],
    holds: Callable[[Evidence], bool],
    what: str,
    *,
    started: float | None = None,
    timeout_s: float = 30.0,
) -> Convergence:
    """Ask until the evidence is as wanted; `started` as above.  Raises `WaitTimeout` with the last answer."""
    begin = time.monotonic() if started is None else started
    tries = 0

    def probe() -> Convergence:
        nonlocal tries
        tries += 1
        evidence = ask()
        if not holds(evidence):
            raise wait.NotYet(evidence.outcome)
        return Convergence((time.monotonic() - begin) * 1000, tries, evidence)

    return wait.until(probe, what, timeout_s=timeout_s, interval_s=0.002, max_interval_s=0.2)
