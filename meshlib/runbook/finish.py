"""The end of a run: results, the log, and what an earlier run lets a new one skip."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshlib.runbook import folders, history, index, record
from meshlib.runbook.masking import Masker

logger = logging.getLogger("meshlib.run")


class _Masked(logging.Formatter):
    def __init__(self, masker: Masker) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._masker = masker

    def format(self, entry: logging.LogRecord) -> str:
        return self._masker.text(super().format(entry))


@contextmanager
def run_log(folder: Path, masker: Masker) -> Iterator[None]:
    """Sends the log of the runner and of papermill to run.log, masked, instead of to the terminal."""
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(_Masked(masker))
    loggers = [logging.getLogger(name) for name in ("meshlib.run", "papermill", "traitlets")]
    before = [(log, log.propagate, log.level) for log in loggers]
    for log in loggers:
        log.addHandler(handler)
        log.propagate = False
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for log, propagate, level in before:
            log.removeHandler(handler)
            log.propagate = propagate
            log.setLevel(level)
        handler.close()


def results_of(folder: Path, manifest: record.Manifest) -> record.Results:
    """What the checkpoints wrote, and the numbers of every table called `metrics`."""
    checks = [check for step in manifest.steps for check in record.checks_of(folder, step.name)]
    metrics: dict[str, float] = {}
    for path in sorted(folder.glob("tables/*-metrics.csv")):
        metrics |= metrics_of(path.read_text(encoding="utf-8", errors="replace"))
    return record.Results(run_id=manifest.run_id, checks=checks, metrics=metrics)


def metrics_of(text: str) -> dict[str, float]:
    """Name → value from a CSV table whose first two columns are the metric's name and its value."""
    metrics: dict[str, float] = {}
    for row in list(csv.reader(text.splitlines()))[1:]:
        try:
            metrics[row[0]] = float(row[1])
        except (IndexError, ValueError):
            logger.warning("not a metric: %s", row)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def rewrite(folder: Path) -> Path:
    """Writes all pages of a run again from its record; returns the path of its index."""
    from meshlib.runbook import report

    manifest = record.load(folder / "manifest.json", record.Manifest)
    for step in manifest.steps:
        report.write_step(folder, manifest, step)
    write_pages(folder, manifest, record.load(folder / "results.json", record.Results))
    return folder / "index.html"


def write_pages(folder: Path, manifest: record.Manifest, results: record.Results) -> None:
    """The page of the run and the page over all runs."""
    runs = folders.runs(folder.parent)
    index.write(folder, manifest, results, history.regression(runs, manifest.parameters_digest))
    history.write(folder.parent)
