"""The rate that a run usually had: a stall is not an overload."""

from __future__ import annotations

import numpy as np
import pytest

from meshlib.load import records


def started(at_s: list[float]) -> records.Records:
    made = np.zeros(len(at_s), dtype=records.DTYPE)
    made["started_ns"] = [int(each * 1e9) for each in at_s]
    return made


DUE = [number / 200 for number in range(1000)]  # 200/s for 5 s


@pytest.mark.parametrize(
    ("at_s", "rate"),
    [
        (DUE, 200),
        ([4.9 if 3.5 < due < 4.9 else due for due in DUE], 200),  # 1.4 s in which nothing was sent
        ([5.6 if due > 4.6 else due for due in DUE], 200),  # the same at the end: sent after 5.6 s only
        ([number / 160 for number in range(1000)], 160),  # the server answers 160 a second
    ],
)
def test_the_usual_rate_tells_a_stall_from_a_server_that_is_too_slow(at_s: list[float], rate: float) -> None:
    assert records.usual_rate(started(at_s), max(at_s)) == pytest.approx(rate, rel=0.04)


def test_without_requests_it_is_zero() -> None:
    assert records.usual_rate(started([]), 0.0) == 0
