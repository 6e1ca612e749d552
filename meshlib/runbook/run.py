"""One run from parameters to exit code.  Whatever happens, the manifest says what it was."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec

from meshlib import parameters
from meshlib.errors import LabError, ParameterError, PreflightError
from meshlib.runbook import (
    finish,
    folders,
    locks,
    notebooks,
    notify,
    progress,
    record,
    state,
    strict_yaml,
    surroundings,
    target,
)
from meshlib.runbook.leash import Leash
from meshlib.runbook.masking import Masker
from meshlib.runbook.outcomes import OUTCOMES
from meshlib.runbook.steps import StepRunner, run_all
from meshlib.runbook.supervise import Stopped, Supervisor

logger = logging.getLogger("meshlib.run")


@dataclass(frozen=True)
class Request:
    """What the command line asks for.  `overrides` are `name=value` texts, typed by the table."""

    notebooks: Path
    out: Path
    parameters_file: Path | None = None
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    first: str | None = None
    resume: str | None = None
    deadline_s: float | None = None
    read_only: bool = False
    keep_lab: bool = False
    html: bool = True


def values_of(request: Request) -> tuple[dict[str, parameters.Value], list[str]]:
    """(every parameter, all findings) from the defaults, the file and the overrides, in this order."""
    given: dict[str, parameters.Value] = {}
    found: list[str] = []
    if request.parameters_file is not None:
        given, found = strict_yaml.read(request.parameters_file)
    seen: set[str] = set()
    for text in request.overrides:
        name, equals, value = text.partition("=")
        if not equals:
            found.append(f"-p {text}: name=value is accepted")
        elif name in seen:
            found.append(f"-p {name}: given twice")
        elif name not in parameters.TABLE:
            found.append(f"-p {parameters.unknown(name)}")
        else:
            try:
                given[name] = parameters.TABLE[name].parse(value)
            except ParameterError as error:
                found += [f"-p {finding}" for finding in error.findings]
        seen.add(name)
    if request.read_only:
        given["read_only"] = True
    if request.deadline_s is not None:
        given["deadline_s"] = request.deadline_s
    values = {**parameters.defaults(), **given}
    return values, found + [f for f in parameters.findings(values) if f not in " ".join(found)]


class Run:
    """The state of one run; `execute` goes through it once."""

    def __init__(self, request: Request, clock: folders.Clock, out: TextIO) -> None:
        self.request, self.clock, self.out = request, clock, out
        self.values, self.findings = values_of(request)
        self.masker = Masker(target.secrets(self.values))
        self.start_s, self.start_wall_s = clock.monotonic_s(), clock.wall_s()
        self.folder = folders.create(request.out, clock)
        folders.close_orphans(request.out)
        self._pages = ThreadPoolExecutor(1, thread_name_prefix="pages")
        self.earlier: Path | None = None
        self.manifest = self._manifest()
        self.save()

    def _manifest(self) -> record.Manifest:
        shown = {n: v for n, v in self.values.items() if n in parameters.TABLE}
        shown["run_id"] = self.folder.name
        self.values["run_id"] = self.folder.name
        return record.Manifest(
            run_id=self.folder.name,
            outcome="running",
            reason="",
            exit_code=OUTCOMES["running"].exit_code,
            started_at=self.clock.now(),
            parameters={n: self.masker.tree(v) for n, v in shown.items()},
            parameters_file=str(self.request.parameters_file or ""),
            parameters_digest=digest(shown),
            target=record.Target(target=str(self.values["target"]), context=str(self.values["context"])),
            runner=surroundings.runner(self.masker, self.request.notebooks),
            steps=[],
        )

    def save(self) -> None:
        """Writes the manifest as it now is."""
        record.write(
            self.folder / "manifest.json", self.masker.text(record.encode(self.manifest).decode()).encode()
        )

    def execute(self) -> int:
        """Everything after the folder is there; returns the exit code."""
        supervisor = Supervisor(self.start_s + float(self.values["deadline_s"]), self.clock.monotonic_s)
        with supervisor.signals(), finish.run_log(self.folder, self.masker):
            try:
                outcome, reason = self._guarded(supervisor)
            except Exception as error:
                logger.exception("the runner failed")
                outcome = "disk-full" if folders.is_full(error) else "internal-error"
                reason = f"{type(error).__name__}: {error}"
            return self._end(outcome, reason)

    def _guarded(self, supervisor: Supervisor) -> tuple[str, str]:
        if self.findings:
            self.manifest.findings = [self.masker.text(f) for f in self.findings]
            mistakes = f"{len(self.findings)} mistake{'s' if len(self.findings) > 1 else ''}"
            return "bad-parameters", f"{mistakes} in the parameters; nothing was run"
        try:
            steps = self._steps()
            with ExitStack() as stack:
                return self._run(steps, supervisor, stack)
        except Stopped as stop:
            return stop.outcome, "stopped before the first step"
        except ParameterError as error:
            self.manifest.findings = error.findings
            return "bad-parameters", error.findings[0]
        except locks.LockHeld as error:
            return "lock-held", str(error)
        except PreflightError as error:
            return "preflight-failed", str(error)
        except LabError as error:
            return "lab-failed", str(error)

    def _steps(self) -> list[notebooks.Step]:
        every = notebooks.discover(self.request.notebooks)
        chosen = notebooks.select(every, self.request.only, self.request.first)
        steps = notebooks.select(chosen, (), None, observing=bool(self.values["read_only"]))
        names = {step.name for step in steps}
        left_out = {step.name for step in chosen} - names
        self.manifest.steps = [
            record.StepRecord(
                name=s.name,
                title=s.title,
                outcome="not-run" if s.name in names else "skipped",
                reason="it writes, and the run is read-only" if s.name in left_out else "",
            )
            for s in every
        ]
        if self.request.resume:
            self.earlier = folders.resumable(self.request.out, self.request.resume)
            self.manifest.resumed_from = self.earlier.name
        return steps

    def _run(self, steps: list[notebooks.Step], supervisor: Supervisor, stack: ExitStack) -> tuple[str, str]:
        if problems := [problem for step in steps for problem in step.problems]:
            self.manifest.findings = problems
            return "invalid-notebook", problems[0]
        before = record.load(self.earlier / "manifest.json", record.Manifest) if self.earlier else None
        leash = Leash(self.folder / "run.log")
        stack.callback(leash.let_go)
        leash.tell(f"folder {self.folder}")
        lab = target.prepare(self.values, self.request.keep_lab, leash, before.target if before else None)
        stack.callback(lab.stop)
        self.manifest.target = lab.record
        stack.enter_context(locks.acquire(lab.lock_name, self.manifest.run_id))
        env = {**lab.env, "MESHLIB_STEPS": ",".join(step.number for step in steps)}
        runner = StepRunner(
            self.folder, self.values, env, masker=self.masker, supervisor=supervisor, leash=leash,
            clock=self.clock, progress=progress.reporter(self.out), snapshot=lab.snapshot,
        )  # fmt: skip
        stack.callback(runner.close)
        if steps and before is None:
            runner.warm(steps[0])
        lab.start(supervisor)
        entries = {entry.name: entry for entry in self.manifest.steps}
        if before is not None:
            done = state.first_to_do([step.name for step in steps], before.steps, lab.snapshot())
            earlier = {entry.name: entry for entry in before.steps}
            for step in steps[:done]:
                entry, old = entries[step.name], earlier[step.name]
                entry.outcome, entry.reason = "skipped", f"passed in {before.run_id}"
                entry.state_before, entry.state_after = old.state_before, old.state_after
            steps = steps[done:]

        def after(entry: record.StepRecord) -> None:
            self.save()
            if self.request.html and entry.notebook:
                self._pages.submit(self._page, entry)

        ending = run_all(runner, steps, entries, after)
        if ending[0] != "passed":
            lab.save_logs(self.folder, self.masker)
        return ending

    def _page(self, entry: record.StepRecord) -> None:
        try:
            from meshlib.runbook import report  # nbconvert is imported while notebooks run

            report.write_step(self.folder, self.manifest, entry)
        except Exception as error:  # the record stands without the page; the manifest says what is missing
            logger.exception("the page of %s", entry.name)
            self.manifest.findings.append(f"the page of {entry.name} was not written: {error}")

    def _end(self, outcome: str, reason: str) -> int:
        folders.release_reserve(self.folder)
        manifest, spent_s = self.manifest, self.clock.monotonic_s() - self.start_s
        manifest.outcome, manifest.exit_code = outcome, OUTCOMES[outcome].exit_code
        manifest.reason = self.masker.text(reason)
        manifest.ended_at = self.clock.now()
        manifest.duration_s = round(spent_s, 3)
        manifest.overhead_s = round(spent_s - sum(step.cells_s for step in manifest.steps), 3)
        jump_s = self.clock.wall_s() - self.start_wall_s - spent_s
        manifest.clock_jump_s = round(jump_s, 3) if abs(jump_s) > 1 else 0.0
        if problem := notify.send(manifest):
            manifest.findings.append(self.masker.text(problem))
        self._pages.shutdown(wait=True)
        self.save()
        results = finish.results_of(self.folder, manifest)
        text = self.masker.text(record.encode(results).decode())
        record.write(self.folder / "results.json", text.encode())
        shown = self.folder / "manifest.json"
        told = record.load(shown, record.Manifest)  # as it was written: without what is masked
        if self.request.html:
            finish.write_pages(self.folder, told, msgspec.json.decode(text, type=record.Results))
            shown = self.folder / "index.html"
        if outcome != "lock-held":
            folders.point_latest(self.folder)
            shown = self.folder.parent / "latest" / shown.name
        self.out.write(progress.summary(told, str(shown)))
        return manifest.exit_code


def digest(values: Mapping[str, parameters.Value]) -> str:
    """Runs with the same digest measured the same thing: all parameters but the id, as a short hash."""
    same = {name: value for name, value in sorted(values.items()) if name != "run_id"}
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()[:16]


def run(request: Request, *, clock: folders.Clock | None = None, out: TextIO = sys.stderr) -> int:
    """Runs what `request` asks for and returns the exit code of `docs/exit-codes.md`."""
    try:
        this = Run(request, clock or folders.Clock(), out)
    except OSError as error:
        outcome = OUTCOMES["disk-full" if folders.is_full(error) else "output-unwritable"]
        out.write(f"meshlib: {outcome.name}: {request.out}: {error.strerror}\n  fix: give --out DIR\n")
        return outcome.exit_code
    return this.execute()
