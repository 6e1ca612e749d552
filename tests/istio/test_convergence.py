"""Waiting for an answer: a row of good ones counts, and one bad one starts it anew."""

from types import SimpleNamespace
from typing import Any

from meshlib.istio import convergence


def test_a_row_that_is_broken_starts_anew() -> None:
    statuses = iter([200, 403, 403, 200, 403, 403, 403])
    taken: list[int] = []

    def ask() -> Any:
        taken.append(next(statuses))
        return SimpleNamespace(status=taken[-1], outcome=str(taken[-1]))

    found = convergence.until(ask, lambda seen: seen.status == 403, "403", streak=3)
    assert found.tries == len(taken) == 7
    assert found.evidence.status == 403
