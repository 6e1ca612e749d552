"""What a run says while it goes on: a bar where somebody watches, plain lines where a log is kept."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

from meshlib.runbook.record import Manifest, StepRecord

BAR = "{desc} {bar:24} {n_fmt}/{total_fmt}"
MARK = {"passed": "ok", "skipped": "--", "not-run": ".."}


class Lines:
    """One line at the end of each step."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.prefix = ""

    def begin(self, number: int, total: int, step: StepRecord) -> None:
        self.prefix = f"[{number}/{total}] {step.name}"

    def cell(self, index: int, cells: int) -> None:
        pass

    def end(self, step: StepRecord) -> None:
        self.out.write(f"{self.prefix}: {describe(step)}\n")
        self.out.flush()


class Bar(Lines):
    """The same lines, and below them a bar that counts the cells of the running notebook."""

    bar: tqdm[Any] | None = None

    def begin(self, number: int, total: int, step: StepRecord) -> None:
        super().begin(number, total, step)
        self.bar = tqdm(
            total=1,
            desc=self.prefix,
            unit="cell",
            leave=False,
            file=self.out,
            bar_format=BAR,
        )

    def cell(self, index: int, cells: int) -> None:
        if self.bar is not None:
            self.bar.total, self.bar.n = cells, index
            self.bar.refresh()

    def end(self, step: StepRecord) -> None:
        if self.bar is not None:
            self.bar.close()
        super().end(step)


def reporter(out: TextIO = sys.stderr) -> Lines:
    """A bar on a terminal, lines elsewhere."""
    return Bar(out) if out.isatty() else Lines(out)


def describe(step: StepRecord) -> str:
    """`passed in 2.1 s, 6 checks` or what went wrong."""
    checks = step.checks
    words = f"{step.outcome} in {step.duration_s:.1f} s"
    if checks.passed or checks.failed:
        words += f", {checks.passed} of {checks.passed + checks.failed} checks good"
    return words if step.outcome == "passed" else f"{words}: {step.reason}"


def summary(manifest: Manifest, index: str) -> str:
    """The end of a run on one screen."""
    width = max((len(step.name) for step in manifest.steps), default=4)
    lines = [""]
    for step in manifest.steps:
        mark = MARK.get(step.outcome, "!!")
        seconds = f"{step.duration_s:6.1f} s" if step.attempts else " " * 8
        checks = f"{step.checks.passed:3} ok {step.checks.failed:2} bad" if step.attempts else ""
        outcome = "" if mark == "ok" else step.outcome
        lines.append(f"  {mark}  {step.name:{width}}  {seconds}  {checks:13}  {outcome}".rstrip())
    lines.append("")
    lines.append(f"  {manifest.outcome}" + (f": {manifest.reason}" if manifest.reason else ""))
    lines += [f"    {finding}" for finding in manifest.findings if finding != manifest.reason]
    outside = f"{manifest.overhead_s:.1f} s of them outside cells"
    lines.append(f"  {manifest.duration_s:.1f} s in all, {outside}; exit code {manifest.exit_code}")
    lines.append(f"  report: {index}")
    return "\n".join(lines) + "\n"
