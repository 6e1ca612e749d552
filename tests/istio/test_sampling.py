"""Shares with their intervals, against published values of the Wilson score."""

import pytest

from meshlib.istio import sampling


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (5, 10, 23.66, 76.34), (20, 2000, 0.65, 1.54)],
)
def test_wilson(hits: int, tries: int, low: float, high: float) -> None:
    assert sampling.wilson(hits, tries) == pytest.approx((low, high), abs=0.01)


def test_bands_are_wide_enough_for_chance_and_no_wider() -> None:
    low, high = sampling.band(1.0, 2000)
    assert low == 0.0
    assert high == pytest.approx(2.39, abs=0.01)
    assert sampling.band(100.0, 2000) == (99.5, 100.0)
    assert sampling.band(0.0, 2000) == (0.0, 0.5)


def test_table() -> None:
    table = sampling.table([sampling.Share("at first", 2000, 0), sampling.Share("1 %", 2000, 20)])
    assert table["Share (%)"].tolist() == [0.0, 1.0]
    assert table["From (%)"].tolist() == [0.0, 0.65]
