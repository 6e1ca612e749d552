"""What a run would do, without doing it."""

from __future__ import annotations

from meshlib.parameters import Config, defaults
from meshlib.runbook import folders, notebooks, record, state
from meshlib.runbook.run import Request, values_of


def describe(request: Request) -> tuple[str, int]:
    """(what would run, with what, on what; the exit code).  Nothing is started, sent or written."""
    values, found = values_of(request)
    if found:
        return "".join(f"{finding}\n" for finding in found), 2
    config = Config(values)
    every = notebooks.discover(request.notebooks)
    steps = notebooks.select(every, request.only, request.first, observing=config.read_only)
    before = resumed(request)
    done = state.passed([step.name for step in steps], before.steps) if before else 0
    if problems := [problem for step in steps for problem in step.problems]:
        return "".join(f"{problem}\n" for problem in problems), 3
    where = f"context {config.context}" if config.target == "kubeconfig" else "an embedded lab"
    mode = "reads only" if config.read_only else "writes"
    limits = f"at most {config.deadline_s:g} s in all, {config.cell_timeout_s:g} s a cell"
    lines = [f"target: {where} ({mode}); {limits}"]
    given = {name: value for name, value in values.items() if value != defaults()[name]}
    lines += [f"  {name} = {value!r}" for name, value in given.items()]
    for number, step in enumerate(steps):
        lines += ["", f"{step.name}: {step.title}", f"  {step.purpose}"]
        if before and number < done:
            lines += [f"  passed in {before.run_id}: left out if the cluster still shows what it made"]
        own = [name for name in step.declares if name in given]
        lines += [f"  differs from the default: {', '.join(own)}"] if own else []
        lines += [f"  changes: {change}" for change in step.changed(values)]
        lines += [f"  may be tried {1 + step.retries} times"] if step.retries else []
    return "\n".join(lines) + f"\n\n{len(steps)} steps; nothing was run\n", 0


def resumed(request: Request) -> record.Manifest | None:
    """The record of the run that would be gone on with."""
    if not request.resume:
        return None
    folder = folders.resumable(request.out, request.resume)
    return record.load(folder / "manifest.json", record.Manifest)
