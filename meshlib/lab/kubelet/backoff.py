"""How long a kubelet waits before it starts a container again: 10 s, doubling to 5 min, forgotten after
10 good minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_S, LONGEST_S, FORGET_S = 10.0, 300.0, 600.0


@dataclass
class Backoff:
    """The first restart is at once, as a kubelet's is; the next ones wait."""

    pause_s: float = 0.0

    def after(self, ran_s: float) -> float:
        """The pause after a container that ran for `ran_s` seconds; counts it."""
        if ran_s >= FORGET_S:
            self.pause_s = 0.0
        pause_s = self.pause_s
        self.pause_s = min(max(pause_s * 2, INITIAL_S), LONGEST_S)
        return pause_s


def restarts(policy: str, exit_code: int) -> bool:
    """Whether a container that ended is started again under a restart policy."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
