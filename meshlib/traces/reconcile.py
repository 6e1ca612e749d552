"""Requests sent against traces found: what the sampling lets expect, and what is missing (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

Z = 2.576  # 99 % of a normal distribution: a true run raises the alarm once in a hundred


@dataclass(frozen=True)
class Reconciliation:
    """Counts of one run. `low` and `high` bound the traces that the sampling lets expect."""

    sent: int
    low: int
    high: int
    found: int
    spans_expected: int
    spans_found: int
    missing: tuple[str, ...]  # sampled by the client, answered, and not in Jaeger
    short: tuple[str, ...]  # found with fewer spans than expected
    foreign: int  # traces in the window that no request of the run belongs to

    @property
    def complete(self) -> bool:
        """Whether all that was to be found was found."""
        return self.low <= self.found <= self.high and not self.missing and not self.short

    @property
    def table(self) -> pd.DataFrame:
        """The counts as a table of one column."""
        expected = f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"
        rows = {
            "requests sent": f"{self.sent:,}",
            "traces expected": expected,
            "traces found": f"{self.found:,}",
            "traces missing": f"{len(self.missing):,}",
            "spans expected": f"{self.spans_expected:,}",
            "spans found": f"{self.spans_found:,}",
            "traces with too few spans": f"{len(self.short):,}",
            "traces of others": f"{self.foreign:,}",
        }
        return pd.DataFrame({"value": pd.Series(rows)})


def reconcile(
    requests: pd.DataFrame, spans: pd.DataFrame, *, spans_each: int, share: float | None = None
) -> Reconciliation:
    """Compare a load's requests with the spans of its window.

    With `share` None the client decided (its `sampled` column): exactly those traces are expected. With a
    share of 0…1 the mesh decided: the expected number lies in the 99 % interval of the binomial distribution.
    `spans_each` is how many spans one request makes (2 or 3 for gateway and sidecar, by version).
    """
    ok = requests["error"].astype("str").eq("") | requests["status"].gt(0)
    carried = requests.loc[ok & requests["trace_id"].ne("")]
    sizes = spans.groupby("trace_id", observed=True).size()
    ours = sizes[sizes.index.isin(carried["trace_id"])]
    if share is None:
        wanted = carried.loc[carried["sampled"], "trace_id"]
        low = high = len(wanted)
        missing = tuple(sorted(set(wanted) - set(ours.index)))
    else:
        mean = len(carried) * share
        margin = Z * math.sqrt(len(carried) * share * (1 - share))
        low, high = max(0, math.floor(mean - margin)), min(len(carried), math.ceil(mean + margin))
        missing = ()
    return Reconciliation(
        sent=len(requests),
        low=low,
        high=high,
        found=len(ours),
        spans_expected=len(ours) * spans_each + len(missing) * spans_each,
        spans_found=int(ours.sum()),
        missing=missing,
        short=tuple(ours[ours < spans_each].index),
        foreign=len(sizes) - len(ours),
    )
