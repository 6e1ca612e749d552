"""Runs the chosen notebooks in order, each on a kernel that was started while the one before ran."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from meshlib.parameters import Value
from meshlib.runbook import engine, record
from meshlib.runbook.folders import Clock
from meshlib.runbook.kernels import Kernel, KernelMissing
from meshlib.runbook.leash import Leash
from meshlib.runbook.masking import Masker
from meshlib.runbook.notebooks import Step
from meshlib.runbook.state import State, difference
from meshlib.runbook.supervise import Stopped, Supervisor

logger = logging.getLogger("meshlib.run")


class Progress(Protocol):
    """What a run tells while it goes on."""

    def begin(self, number: int, total: int, step: record.StepRecord) -> None: ...
    def cell(self, index: int, cells: int) -> None: ...
    def end(self, step: record.StepRecord) -> None: ...


class StepRunner:
    """Owns the kernels of a run.  `env` is what each kernel gets besides the step's name."""

    def __init__(
        self,
        folder: Path,
        values: Mapping[str, Value],
        env: Mapping[str, str],
        *,
        masker: Masker,
        supervisor: Supervisor,
        leash: Leash,
        clock: Clock,
        progress: Progress,
        snapshot: Callable[[], State],
    ) -> None:
        self.folder, self.values, self.env = folder, values, env
        self.masker, self.supervisor, self.leash = masker, supervisor, leash
        self.clock, self.progress, self.snapshot = clock, progress, snapshot
        self._work = ThreadPoolExecutor(1, thread_name_prefix="notebook")
        self._side = ThreadPoolExecutor(1, thread_name_prefix="kernels")
        self._next: tuple[str, Future[Kernel]] | None = None

    def warm(self, step: Step) -> None:
        """Starts the kernel for `step` in the background."""
        env = {**self.env, "MESHLIB_RUN_DIR": str(self.folder), "MESHLIB_STEP": step.name}
        self._next = step.name, self._side.submit(self._start, step.kernel, env, step.path.parent)

    def _start(self, name: str, env: Mapping[str, str], cwd: Path) -> Kernel:
        kernel = Kernel(name, env, cwd)
        self.leash.tell(f"kernel {kernel.pid} {kernel.folder}")
        return kernel

    def run(self, step: Step, then: Step | None, entry: record.StepRecord) -> None:
        """Runs one step and fills in `entry`; while it runs, the kernel for `then` is started."""
        start = self.clock.monotonic_s()
        entry.started_at, entry.outcome = self.clock.now(), "running"
        for attempt in range(1 + step.retries):
            entry.attempts = attempt + 1
            (self.folder / "checks" / f"{step.name}.jsonl").unlink(missing_ok=True)
            ending = self._attempt(step, then, entry)
            entry.outcome, entry.reason = ending.outcome, self.masker.text(ending.reason)
            entry.failed_cell = ending.failed_cell
            if ending.outcome not in ("failed", "cell-timeout", "kernel-died") or self.supervisor.why_stop():
                break
        entry.duration_s = round(self.clock.monotonic_s() - start, 3)
        checks = record.checks_of(self.folder, step.name)
        entry.checks = record.count(checks)
        bad = [check.name for check in checks if record.count([check]).failed]
        if bad and entry.outcome in ("passed", "check-failed"):
            names = self.masker.text("; ".join(bad))
            entry.outcome, entry.reason = (
                "check-failed",
                f"{len(bad)} of {len(checks)} checks failed: {names}",
            )
        for path in (
            *self.folder.glob(f"tables/{step.name}-*"),
            *self.folder.glob(f"checks/{step.name}.jsonl"),
        ):
            self.masker.file(path)

    def _attempt(self, step: Step, then: Step | None, entry: record.StepRecord) -> engine.Ending:
        if self._next is None or self._next[0] != step.name:
            self.warm(step)
        assert self._next is not None
        waiting, self._next = self._next[1], None
        try:
            kernel = self.supervisor.wait(waiting, lambda why: None, lambda: None)
        except KernelMissing as error:
            return engine.Ending("kernel-missing", error.message)
        target = self.folder / "notebooks" / step.path.name
        entry.notebook = f"notebooks/{step.path.name}"
        own = {name: self.values[name] for name in step.declares}
        watch = engine.Watch(kernel, self.masker, float(self.values["cell_timeout_s"]), self.progress.cell)
        work = self._work.submit(engine.execute, step.path, target, own, watch)
        if then is not None:
            self.warm(then)

        def stop(why: str) -> None:
            watch.stopped = why
            kernel.interrupt()

        ending = self.supervisor.wait(work, stop, kernel.kill)
        engine.save(watch, target, ending)
        entry.cells = len(watch.nb.cells) if watch.nb is not None else 0
        entry.cells_run, entry.cells_s = len(watch.ran), round(sum(watch.ran.values()), 3)
        self._side.submit(self._close, step.name, kernel)
        return ending

    def _close(self, name: str, kernel: Kernel) -> None:
        text = kernel.close()
        self.leash.tell(f"gone {kernel.pid} {kernel.folder}")
        for line in self.masker.text(text).splitlines():
            logger.info("kernel of %s: %s", name, line)

    def close(self) -> None:
        """Ends every kernel that is still there."""
        if self._next is not None:
            name, waiting = self._next
            try:
                self._close(name, waiting.result(timeout=60))
            except KernelMissing:
                logger.info("the kernel of %s was not started", name)
        self._side.shutdown(wait=True)
        self._work.shutdown(wait=True)


def run_all(runner: StepRunner, steps: Sequence[Step], entries: Mapping[str, record.StepRecord],
            after: Callable[[record.StepRecord], None]) -> tuple[str, str]:  # fmt: skip
    """Runs `steps` until one does not pass; `after` is called after each.  Returns (outcome, reason)."""
    state = runner.snapshot()
    for number, step in enumerate(steps):
        entry = entries[step.name]
        runner.progress.begin(number + 1, len(steps), entry)
        entry.state_before = state
        try:
            runner.supervisor.check()
            runner.run(step, steps[number + 1] if number + 1 < len(steps) else None, entry)
        except Stopped as stop:
            entry.outcome = "not-run"
            return stop.outcome, f"stopped before {step.name}"
        entry.state_after = state = runner.snapshot()
        entry.state_diff = difference(entry.state_before, entry.state_after)
        runner.progress.end(entry)
        after(entry)
        if entry.outcome != "passed":
            return entry.outcome, f"{step.name}: {entry.reason}"
    return "passed", ""
