"""The end of a run: results, the log, and what an earlier run lets a new one skip."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshlib.runbook import record
from meshlib.runbook.masking import Masker
from meshlib.runbook.notebooks import Step


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


def write_results(folder: Path, manifest: record.Manifest, masker: Masker) -> None:
    """results.json from what the checkpoints wrote."""
    checks = [check for step in manifest.steps for check in record.checks_of(folder, step.name)]
    results = record.Results(run_id=manifest.run_id, checks=checks)
    record.write(folder / "results.json", masker.text(record.encode(results).decode()).encode())


def still_to_do(steps: list[Step], earlier: Path, manifest: record.Manifest) -> list[Step]:
    """The steps from the first one that the earlier run does not show as good."""
    manifest.resumed_from = earlier.name
    before = record.load(earlier / "manifest.json", record.Manifest)
    good = {step.name for step in before.steps if step.outcome in ("passed", "skipped")}
    first = next((number for number, step in enumerate(steps) if step.name not in good), len(steps))
    return steps[first:]
