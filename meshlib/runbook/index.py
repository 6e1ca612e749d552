"""The page of a run: verdict on top, what failed with its evidence, then all the rest."""

from __future__ import annotations

from pathlib import Path

from meshlib import parameters
from meshlib.runbook import advice, pages, record
from meshlib.runbook.history import Regression
from meshlib.runbook.record import Manifest, Results

MEASURED = {
    "p50_ms": "latency, median (ms)",
    "p95_ms": "latency, 95 of 100 requests at most (ms)",
    "p99_ms": "latency, 99 of 100 requests at most (ms)",
    "error_percent": "failed requests (%)",
    "convergence_s": "until a new route was served (s)",
}


def write(folder: Path, manifest: Manifest, results: Results, regression: Regression | None) -> None:
    """Writes `index.html` into the folder of a run."""
    (folder / "index.html").write_text(page(folder, manifest, results, regression), encoding="utf-8")


def page(folder: Path, manifest: Manifest, results: Results, regression: Regression | None) -> str:
    """The HTML of a run's page; `folder` is read only for the names of its files."""
    failed = advice.failed_step(manifest)
    planned = [step for step in manifest.steps if step.outcome != "skipped"]
    by_step = {step.name: [c for c in results.checks if c.step == step.name] for step in manifest.steps}
    return pages.render(
        "run.html.j2",
        m=manifest,
        heading="The runbook " + ("passed" if manifest.outcome == "passed" else "did not pass"),
        about=advice.about(manifest),
        verdict=verdict(manifest),
        todo=advice.next_steps(manifest),
        answers=advice.answers(manifest),
        failed=failed,
        failed_checks=[c for c in by_step.get(failed.name, []) if record.count([c]).failed] if failed else [],
        checks=[(step, by_step[step.name]) for step in manifest.steps if by_step[step.name]],
        changed=[step for step in manifest.steps if step.state_diff],
        passed=sum(step.outcome == "passed" for step in planned),
        planned=len(planned),
        good=sum(step.checks.passed for step in manifest.steps),
        bad=sum(step.checks.failed for step in manifest.steps),
        longest=max((step.duration_s for step in manifest.steps), default=1.0) or 1.0,
        metrics=[(MEASURED.get(name, name), value) for name, value in sorted(results.metrics.items())],
        regression=regression,
        defaults={**parameters.defaults(), "run_id": manifest.run_id},
        environment=environment(manifest),
        files=files(folder),
        more_files=more_files(folder),
    )


def verdict(manifest: Manifest) -> str:
    """`Passed: 10 steps, 84 checks` or the way in which it ended."""
    if manifest.outcome == "passed":
        steps = sum(step.outcome == "passed" for step in manifest.steps)
        return f"Passed: {steps} steps, {sum(step.checks.passed for step in manifest.steps)} checks"
    return manifest.outcome.replace("-", " ").capitalize()


def environment(manifest: Manifest) -> list[tuple[str, str]]:
    """What the run ran on, as rows."""
    target, runner = manifest.target, manifest.runner
    rows = [
        ("target", target.target),
        ("context", target.context),
        ("API server", target.server),
        ("Kubernetes", target.kubernetes),
        ("lab", target.home),
        ("host", runner.host),
        ("user", runner.user),
        ("command", " ".join(runner.command)),
        ("git revision", runner.git),
        *runner.versions.items(),
    ]
    return [(name, value) for name, value in rows if value]


def files(folder: Path) -> list[str]:
    """The record itself, relative to the page."""
    return [name for name in ("manifest.json", "results.json", "run.log") if (folder / name).exists()]


def more_files(folder: Path) -> list[tuple[str, list[str]]]:
    """What else there is to download: what it is, and the paths relative to the page."""
    kinds = (("tables as CSV", "tables/*.csv"), ("logs of the lab", "lab-logs/*"))
    found = [
        (title, [str(p.relative_to(folder)) for p in sorted(folder.glob(glob))]) for title, glob in kinds
    ]
    return [(title, names) for title, names in found if names]
