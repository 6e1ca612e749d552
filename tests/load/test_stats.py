"""Histograms: percentiles within 1 % of the exact ones, merging without loss."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from meshlib.load import stats


@pytest.mark.parametrize("scale", [1.0, 300.0, 5e4, 3e7])
def test_percentiles_are_within_one_percent(scale: float) -> None:
    values = np.random.default_rng(7).lognormal(0, 1.2, 50_000) * scale + 3
    histogram = stats.Histogram()
    histogram.add(values)
    for percent in (0.1, 10, 50, 90, 99, 99.9, 99.99, 100):
        exact = np.sort(values)[int(np.ceil(len(values) * percent / 100)) - 1]
        assert histogram.percentile_us(percent) == pytest.approx(exact, rel=0.01, abs=0.1)
    assert histogram.mean_us == pytest.approx(values.mean())


def test_merging_is_the_same_as_counting_all() -> None:
    values = np.random.default_rng(1).exponential(800, 10_000)
    whole = stats.Histogram()
    whole.add(values)
    parts = [stats.Histogram() for _ in range(3)]
    for index, part in enumerate(parts):
        part.add(values[index::3])
    together = stats.merged(parts)
    assert (together.counts, together.count, together.max_us) == (whole.counts, whole.count, whole.max_us)


def test_buckets_are_narrow_everywhere() -> None:
    values = np.geomspace(0.1, 4e9, 20_000)
    middles = np.array([stats.middle_us(bucket) for bucket in stats.bucket_of(values).tolist()])
    assert (np.abs(middles - values) <= np.maximum(values * 0.005, 0.1)).all()


def test_nothing_measured_is_zero() -> None:
    assert stats.latency_ms(stats.Histogram())["p99"] == 0


def test_a_worker_without_an_answer_can_report() -> None:
    sent = msgspec.json.decode(msgspec.json.encode(stats.Histogram()), type=stats.Histogram)
    some = stats.Histogram()
    some.add(np.array([5.0, 7.0]))
    sent.merge(some)
    assert sent == some


def test_falling_behind_is_said() -> None:
    assert stats.fell_behind(1000, 999.5) is None
    assert "500.0 of 1,000.0" in (stats.fell_behind(1000, 500) or "")
