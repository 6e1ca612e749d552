"""Runs compared with each other: series of measured values, and whether the newest got worse."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from meshlib.runbook import folders, pages, record, trends
from meshlib.runbook.record import Manifest

LAST = 20  # runs before the newest one that it is compared with
LEAST = 3  # fewer say nothing
MARGIN = (
    0.25  # a change below a quarter is no finding on a shared machine, however steady the runs before were
)
SPREADS = 4.0  # spreads (scaled median absolute deviations) above the median that count as worse

CHARTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Latency", ("p50_ms", "p95_ms", "p99_ms"), "ms"),
    ("Errors", ("error_percent",), "%"),
    ("Convergence", ("convergence_s",), "s"),
    ("Duration of the run", ("duration_s",), "s"),
)


@dataclass(frozen=True)
class Regression:
    """The newest run against the ones before it."""

    good: bool
    title: str
    reason: str


def values_of(folder: Path, manifest: Manifest) -> dict[str, float]:
    """The numbers of a run that are compared: its metrics and its duration."""
    values = {"duration_s": manifest.duration_s}
    try:
        values.update(record.load(folder / "results.json", record.Results).metrics)
    except (OSError, msgspec.MsgspecError):
        return values
    return values


def alike(runs: Sequence[tuple[Path, Manifest]], digest: str) -> list[tuple[Path, Manifest]]:
    """Passed runs with these parameters and steps, oldest first, at most `LAST` and one more."""
    same = [(f, m) for f, m in runs if m.parameters_digest == digest and m.outcome == "passed"]
    if not same:
        return []
    steps = _ran(same[0][1])
    return [(f, m) for f, m in same if _ran(m) == steps][: LAST + 1][::-1]


def _ran(manifest: Manifest) -> list[str]:
    return [step.name for step in manifest.steps if step.attempts]


def compare(before: Sequence[Mapping[str, float]], now: Mapping[str, float]) -> Regression | None:
    """Whether a value of `now` lies further above the earlier ones' median than spread and margin allow.

    More is worse for every value.  None when there are fewer than `LEAST` earlier runs.
    """
    if len(before) < LEAST:
        return None
    worse: list[str] = []
    for name, value in now.items():
        earlier = [values[name] for values in before if name in values]
        if name not in _watched() or len(earlier) < LEAST:
            continue
        middle = statistics.median(earlier)
        spread = 1.4826 * statistics.median(abs(v - middle) for v in earlier)
        if value > middle + max(SPREADS * spread, MARGIN * abs(middle)) and value - middle > 1e-9:
            worse.append(f"{name} {value:.4g} against a median of {middle:.4g}")
    scope = f"the last {len(before)} runs with the same parameters"
    if worse:
        return Regression(False, f"Slower or worse than {scope}", "; ".join(worse))
    return Regression(True, f"No regression against {scope}", "")


def _watched() -> set[str]:
    return {name for _, names, _ in CHARTS for name in names}


def regression(runs: Sequence[tuple[Path, Manifest]], digest: str) -> Regression | None:
    """The newest passed run with these parameters against the ones before it."""
    same = alike(runs, digest)
    values = [values_of(folder, manifest) for folder, manifest in same]
    return compare(values[:-1], values[-1]) if values else None


def write(out: Path) -> None:
    """Writes `index.html` over all runs in `out`."""
    runs = folders.runs(out)
    digest = next((m.parameters_digest for _, m in runs if m.outcome == "passed"), "")
    same = alike(runs, digest)
    values = [values_of(folder, manifest) for folder, manifest in same]
    labels = [pages.moment(manifest.started_at)[:16] for _, manifest in same]
    charts = [
        trends.chart(title, unit, labels, {name: [v.get(name) for v in values] for name in names})
        for title, names, unit in CHARTS
        if any(name in v for v in values for name in names)
    ]
    text = pages.render(
        "history.html.j2",
        rows=[(folder.name, manifest) for folder, manifest in runs],
        charts=charts,
        same=len(same),
        digest=digest,
        regression=compare(values[:-1], values[-1]) if values else None,
    )
    record.write(out / "index.html", text.encode())
