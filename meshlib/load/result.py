"""What a run measured: the summary, the requests as a table, and both as files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshlib import export
from meshlib.errors import Unsupported
from meshlib.load import records, stats
from meshlib.load.engine import Outcome
from meshlib.load.plan import NS, Plan
from meshlib.load.records import Part

if TYPE_CHECKING:
    import pandas as pd

SAVED = (export.CSV, export.PARQUET, export.JSON)


class LoadResult:
    """A finished run. The records are in files without a name, which go with this object.

    A run of a Job has numbers only: `parts` is None, and whatever needs records raises `Unsupported`.
    """

    def __init__(
        self,
        plan: Plan,
        outcomes: list[Outcome],
        parts: list[Part] | None,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.plan = plan
        self.outcomes = outcomes
        self.histogram = stats.merged(outcome.histogram for outcome in outcomes)
        self._parts = parts
        self._notes = notes

    @cached_property
    def numbers(self) -> stats.Summary:
        """The run in numbers."""
        outcomes, plan = self.outcomes, self.plan
        requests = sum(outcome.requests for outcome in outcomes)
        last_end_s = max((outcome.last_end_ns for outcome in outcomes), default=0) / NS
        last_start_s = max((outcome.last_start_ns for outcome in outcomes), default=0) / NS
        interrupted = any(outcome.interrupted for outcome in outcomes)
        # An open loop is judged by its sending: the last answer may come after its end.
        sending_s = max(plan.open_s, last_start_s) if plan.is_open and not interrupted else last_end_s
        achieved = requests / sending_s if sending_s else 0.0
        requested = plan.requested_rate
        warnings = [text] if (text := stats.fell_behind(None if interrupted else requested, achieved)) else []
        if unsent := sum(outcome.unsent for outcome in outcomes):
            warnings.append(f"{unsent:,} requests were due but never sent; percentiles leave them out")
        if interrupted:
            warnings.append("interrupted: this is what was measured until then")
        warnings += self._notes
        return stats.Summary(
            requests=requests,
            errors=_added(outcome.errors for outcome in outcomes),
            statuses=_added(outcome.statuses for outcome in outcomes),
            requested_rate=requested,
            achieved_rate=round(achieved, 3),
            duration_s=round(last_end_s, 6),
            latency_ms=stats.latency_ms(self.histogram),
            cpu_s=round(sum(outcome.cpu_s for outcome in outcomes), 3),
            bytes=sum(outcome.bytes for outcome in outcomes),
            connections_opened=sum(outcome.connections_opened for outcome in outcomes),
            warnings=tuple(warnings),
        )

    @property
    def achieved_rate(self) -> float:
        """Requests/s that were sent (open loop) or finished (closed loop)."""
        return self.numbers.achieved_rate

    @property
    def usual_rate(self) -> float:
        """Requests/s sent in the median tenth of the run: a stall of the machine hardly moves it, a rate that
        the server cannot keep up with does."""
        numbers = self.numbers
        sending_s = numbers.requests / numbers.achieved_rate if numbers.achieved_rate else 0.0
        return round(records.usual_rate(self.records, sending_s), 3)

    def metrics(self) -> dict[str, float]:
        """What runs are compared by: p50_ms, p95_ms, p99_ms, and error_percent, the share of requests without
        an answer or with a status from 400 up."""
        numbers = self.numbers
        bad = sum(numbers.errors.values())
        bad += sum(
            count for status, count in numbers.statuses.items() if not status.startswith(("1", "2", "3"))
        )
        found = {f"p{p}_ms": round(self.histogram.percentile_us(p) / 1e3, 4) for p in (50, 95, 99)}
        return found | {"error_percent": round(100 * bad / max(numbers.requests, 1), 4)}

    @property
    def messages(self) -> dict[str, str]:
        """For each kind of error the first message of its kind."""
        found: dict[str, str] = {}
        for outcome in self.outcomes:
            found = {**outcome.messages, **found}
        return found

    @property
    def summary(self) -> pd.DataFrame:
        """The numbers as a table: one column `value`, units in the names."""
        import pandas as pd  # as in `records`

        numbers = self.numbers
        rows: dict[str, Any] = {"requests": numbers.requests}
        rows |= {f"error: {kind}": count for kind, count in numbers.errors.items()}
        rows |= {f"status {status}": count for status, count in numbers.statuses.items()}
        if numbers.requested_rate is not None:
            rows["requested rate (1/s)"] = numbers.requested_rate
        rows |= {"achieved rate (1/s)": numbers.achieved_rate, "duration (s)": numbers.duration_s}
        rows |= {
            f"latency {name.replace('_', '.')} (ms)": value for name, value in numbers.latency_ms.items()
        }
        rows |= {
            "CPU of the client (s)": numbers.cpu_s,
            "bytes received": numbers.bytes,
            "connections opened": numbers.connections_opened,
        }
        return pd.DataFrame({"value": pd.Series(rows, dtype=object)})

    @cached_property
    def records(self) -> records.Records:
        """The records as they are, 60 bytes each, in a file (`records.DTYPE`)."""
        return records.read(self._kept)

    @property
    def _kept(self) -> list[Part]:
        if self._parts is None:
            raise Unsupported(
                "the pods of a Job send back numbers, not their requests", fix="run it without --job"
            )
        return self._parts

    @property
    def _prefixes(self) -> list[str]:
        return [part.trace_prefix for part in self._kept]

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row a request; see `records.frame` for the columns."""
        return records.frame(self.records, self._prefixes)

    def as_json(self) -> dict[str, Any]:
        """The summary under the names of `meshlib load --json`."""
        return asdict(self.numbers)

    def save(self, path: Path) -> None:
        """Write to `path`: `.csv` and `.parquet` are one row a request, `.json` is the summary.

        Pieces of a quarter of a million requests, so that memory does not grow with the run. Raises
        `ParameterError` for another ending, a missing folder, or Parquet without pyarrow.
        """
        export.check(path, kinds=SAVED)
        if path.suffix == export.JSON:
            export.write_bytes(path, msgspec.json.format(msgspec.json.encode(self.as_json()), indent=2))
        else:
            export.write(path, self.pieces())

    def pieces(self, size: int = 2**18) -> Iterator[pd.DataFrame]:
        """The table `requests` in pieces of `size` rows; a run without requests has one, empty."""
        for at in range(0, max(len(self.records), 1), size):
            yield records.frame(self.records[at : at + size], self._prefixes)

    def _repr_html_(self) -> str:
        return str(self.summary._repr_html_())  # type: ignore[operator]

    def __repr__(self) -> str:
        return self.summary.to_string()


def _added(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))
