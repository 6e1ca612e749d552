"""What the page of a run says to somebody who sees only that page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshlib.parameters import defaults
from meshlib.runbook import advice, index, notebooks
from meshlib.runbook.questions import QUESTIONS
from meshlib.runbook.record import FailedCell, Manifest, Results, Runner, StepRecord, Target

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
COMMAND = ["/bin/meshlib", "run", "-p", "host=a b"]
WAIT = FailedCell(index=9, id="x", error="WaitTimeout", message="gave up\n  fix: kubectl describe pods -n a")


def step(name: str, outcome: str = "passed", **more: Any) -> StepRecord:
    return StepRecord(name=name, title="A title", outcome=outcome, attempts=int(outcome != "not-run"), **more)


def manifest(*steps: StepRecord, outcome: str = "passed", **more: Any) -> Manifest:
    own: dict[str, Any] = {
        "target": Target(target="embedded", kubernetes="v1.36.2", private=True),
        "runner": Runner(pid=1, host="h", user="u", command=COMMAND, git="", versions={}),
    }
    return Manifest(
        run_id="20261128T094658Z-3e7ba4", outcome=outcome, reason="", exit_code=0,
        started_at="2026-11-28T09:46:58+00:00", parameters=defaults(), parameters_file="",
        parameters_digest="", steps=list(steps), **{**own, **more},
    )  # fmt: skip


def test_every_step_that_a_question_names_is_a_notebook() -> None:
    numbers = {each.number for each in notebooks.discover(NOTEBOOKS)}
    assert {number for question in QUESTIONS for number in question.steps} <= numbers
    assert len(QUESTIONS) == 3
    for question in QUESTIONS:
        assert "{" not in question.answer(defaults())
        assert all(f"({number})" in question.says for number in question.steps)


def test_answers_come_with_the_steps_of_the_run_that_show_them() -> None:
    run = manifest(step("03_certificate"), step("05_publish", "failed"), step("12_routing", "not-run"))
    found = {answer.title: [each.name for each in answer.steps] for answer in advice.answers(run)}
    assert found == {
        "How is it made secure?": ["03_certificate", "05_publish"],
        "What are the layer-7 routing rules?": ["05_publish", "12_routing"],
    }


def test_what_ran_and_on_what() -> None:
    assert "on the embedded lab cluster, Kubernetes v1.36.2, with Istio" in advice.about(manifest(step("a")))
    real = Target(target="kubeconfig", context="prod")
    assert "on the cluster `prod`, with" in advice.about(manifest(step("a"), target=real))
    assert "This run" not in advice.about(manifest(target=real))


@pytest.mark.parametrize(
    ("target", "last"),
    [
        (Target(target="embedded", private=True), "`kubectl describe pods -n a`"),
        (Target(target="kubeconfig", context="prod"), "--resume 20261128T094658Z-3e7ba4`"),
    ],
)
def test_what_to_do_begins_with_what_can_be_done(target: Target, last: str) -> None:
    run = manifest(step("04_x", "failed", failed_cell=WAIT), outcome="failed", target=target)
    lines = advice.next_steps(run)
    assert lines[-1].endswith(last)
    assert sum("kubectl describe pods -n a" in line for line in lines) == 1
    assert any("meshlib run -p 'host=a b' --" in line for line in lines)


def test_a_resumed_run_is_resumed_by_its_own_name() -> None:
    runner = Runner(pid=1, host="h", user="u", command=[*COMMAND, "--resume", "old"], git="", versions={})
    real = Target(target="kubeconfig", context="prod")
    run = manifest(step("04_x", "check-failed"), outcome="check-failed", runner=runner, target=real)
    assert advice.next_steps(run)[-1].count("--resume") == 1
    assert advice.next_steps(manifest(step("04_x"))) == []
    assert len(advice.next_steps(manifest(outcome="bad-parameters"))) == 1


def test_the_page_shows_questions_and_advice(tmp_path: Path) -> None:
    failed = step("05_publish", "failed", failed_cell=WAIT, reason="cell 9: <b> " + "word " * 200)
    run = manifest(step("03_certificate"), failed, outcome="failed")
    run.reason = failed.reason
    text = index.page(tmp_path, run, Results(run_id="x", checks=[], metrics={"p50_ms": 1.0}), None)
    assert "<h3>How is it made secure?</h3>" in text
    assert "<code>kubectl describe pods -n a</code>" in text
    assert "latency, median (ms)" in text
    assert "&lt;b&gt;" in text
    assert "<b> word" not in text
    assert "word …" in text
