"""What the page of a run says to somebody who sees only that page: what ran, on what, and what to do next."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from meshlib.parameters import defaults
from meshlib.runbook.outcomes import OUTCOMES
from meshlib.runbook.questions import QUESTIONS
from meshlib.runbook.record import Manifest, StepRecord

FIX = re.compile(r"^\s*fix: (.+)$", re.M)
ENDED_WELL = ("passed", "skipped", "not-run")


@dataclass(frozen=True)
class Answer:
    """A question of the exercise, the answer in words, and the steps of this run that show it."""

    title: str
    words: str
    steps: list[StepRecord]


def failed_step(manifest: Manifest) -> StepRecord | None:
    """The step that ended the run, if one did."""
    return next((step for step in manifest.steps if step.outcome not in ENDED_WELL), None)


def about(manifest: Manifest) -> str:
    """What the run is, and on what, in two sentences; code stands between backticks."""
    values = {**defaults(), **manifest.parameters}
    what = (
        f"The runbook publishes `{values['app']}` as `https://{values['host']}` through an Istio ingress"
        " gateway, secures, routes and traces it, and checks each step."
    )
    if values["read_only"]:
        what = f"A read-only run of the runbook: it looks at `https://{values['host']}` and changes nothing."
    target = manifest.target
    if not manifest.steps:
        return what
    cluster = "the embedded lab cluster" if target.target == "embedded" else f"the cluster `{target.context}`"
    version = f", Kubernetes {target.kubernetes}" if target.kubernetes else ""
    return f"{what} This run: on {cluster}{version}, with Istio {values['istio_version']}."


def answers(manifest: Manifest) -> list[Answer]:
    """The exercise's questions, as far as this run has tried a step that shows something about them."""
    values = {**defaults(), **manifest.parameters}
    found = []
    for question in QUESTIONS:
        steps = [step for step in manifest.steps if step.name.partition("_")[0] in question.steps]
        if any(step.attempts for step in steps):
            found.append(Answer(question.title, question.answer(values), steps))
    return found


def next_steps(manifest: Manifest) -> list[str]:
    """What to do about a run that did not pass, first things first; code stands between backticks."""
    if manifest.outcome == "passed":
        return []
    failed = failed_step(manifest)
    outcome = OUTCOMES[failed.outcome if failed else manifest.outcome]
    message = failed.failed_cell.message if failed and failed.failed_cell else ""
    fixes = [f"`{fix}`" for fix in FIX.findall(message)]
    said = [outcome.todo] if outcome.todo else []
    if not failed:
        return [*fixes, *said]
    if manifest.target.private and not manifest.target.kept:
        again = _command(manifest, "--keep-lab")
        kept = f"The lab ended with the run. To look into it, run again and keep it: `{again}`"
        return [*said, kept, *fixes]
    again = _command(manifest, "--resume", manifest.run_id)
    return [*fixes, *said, f"When it is repaired, go on with this step: `{again}`"]


def _command(manifest: Manifest, *options: str) -> str:
    """The command of the run once more, with other options at its end."""
    words = manifest.runner.command[1:]
    if "--resume" in words:
        at = words.index("--resume")
        words = words[:at] + words[at + 2 :]
    return shlex.join(["meshlib", *words, *options])
