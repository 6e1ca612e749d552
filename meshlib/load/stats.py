"""Latencies in a histogram that merges without loss, percentiles within 1 %, the summary (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "p99_99": 99.99}
SUB_BITS = 7  # 128 buckets an octave: a bucket is at most 1/128 of its value wide, its middle 0.4 % off
SUB = 1 << SUB_BITS


def bucket_of(values_us: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bucket of each value in µs; below 25.6 µs a tenth of a µs is exact."""
    tenths = np.maximum(values_us * 10.0, 0.0).astype(np.int64)
    shift = np.maximum(np.frexp(tenths.astype(np.float64))[1] - SUB_BITS - 1, 0)
    found: npt.NDArray[np.int64] = shift * SUB + (tenths >> shift)
    return found


def middle_us(bucket: int) -> float:
    """The value that stands for a bucket, in µs."""
    if bucket < 2 * SUB:
        return bucket / 10.0
    shift = bucket // SUB - 1
    return ((bucket - shift * SUB) + 0.5) * 2.0**shift / 10.0


NOTHING_US = 1e18  # longer than anything: the least of nothing, as JSON has no infinity


@dataclass
class Histogram:
    """How many values fell into which bucket; sums and extremes are exact. Values are in µs."""

    counts: dict[int, int] = field(default_factory=dict)
    count: int = 0
    sum_us: float = 0.0
    min_us: float = NOTHING_US
    max_us: float = 0.0

    def add(self, values_us: npt.NDArray[np.float64]) -> None:
        """Count all of `values_us`."""
        if not values_us.size:
            return
        buckets, counts = np.unique(bucket_of(values_us), return_counts=True)
        for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += int(values_us.size)
        self.sum_us += float(values_us.sum())
        self.min_us = min(self.min_us, float(values_us.min()))
        self.max_us = max(self.max_us, float(values_us.max()))

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.sum_us += other.sum_us
        self.min_us = min(self.min_us, other.min_us)
        self.max_us = max(self.max_us, other.max_us)

    @property
    def mean_us(self) -> float:
        """The exact mean; 0 of nothing."""
        return self.sum_us / self.count if self.count else 0.0

    def percentile_us(self, percent: float) -> float:
        """The value that `percent` of all do not exceed (nearest rank), within 1 %; 0 of nothing."""
        if not self.count:
            return 0.0
        rank = max(1, int(np.ceil(self.count * percent / 100.0 - 1e-9)))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(max(middle_us(bucket), self.min_us), self.max_us)
        return self.max_us


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all."""
    whole = Histogram()
    for each in histograms:
        whole.merge(each)
    return whole


def latency_ms(histogram: Histogram) -> dict[str, float]:
    """mean, p50 … p99_99 and max, in ms."""
    found = {"mean": histogram.mean_us / 1e3}
    found |= {name: histogram.percentile_us(percent) / 1e3 for name, percent in PERCENTILES.items()}
    found["max"] = histogram.max_us / 1e3
    return {name: round(value, 4) for name, value in found.items()}


def fell_behind(requested: float | None, achieved: float, tolerance: float = 0.001) -> str | None:
    """A warning when an open loop was slower than asked for by more than `tolerance`, else None."""
    if requested is None or achieved >= requested * (1 - tolerance):
        return None
    return (
        f"sent {achieved:,.1f} of {requested:,.1f} /s ({achieved / requested:.2%}): use more connections or"
        " workers are needed, or the server cannot do it"
    )


@dataclass(frozen=True)
class Summary:
    """A run in numbers; rates in requests/s, `latency_ms` by name, errors and statuses by kind."""

    requests: int
    errors: Mapping[str, int]
    statuses: Mapping[str, int]
    requested_rate: float | None
    achieved_rate: float
    duration_s: float
    latency_ms: Mapping[str, float]
    cpu_s: float
    bytes: int
    connections_opened: int
    warnings: tuple[str, ...] = ()
