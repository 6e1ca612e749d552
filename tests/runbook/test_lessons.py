"""How far a reader is: from records of checkpoints and what the cluster shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from meshlib.cli import root
from meshlib.runbook import lessons, notebooks, startpage
from meshlib.runbook.lessons import Record, judge
from meshlib.runbook.notebooks import Step

GATEWAY = "gateways.networking.istio.io"


def step(name: str, *changes: str) -> Step:
    return Step(name, Path(f"{name}.ipynb"), name.title(), "", {}, changes=changes)


STEPS = [
    step("00_look"),
    step("05_publish", f"{GATEWAY} {{namespace}}/{{gateway_name}}", "something in words"),
    step("08_measure"),
    step("90_cleanup"),
]
THERE = {GATEWAY: ["httpserver-istio/gohttpserver-svc"]}


def record(name: str, minute: int, *failed: str, **parameters: str) -> tuple[str, Record]:
    at = f"2026-11-23T04:{minute:02}:00.000+00:00"
    return name, Record(step=name, at=at, failed=list(failed), parameters={**parameters})


def states(*records: tuple[str, Record], there: lessons.State | None = THERE) -> list[str]:
    return [lesson.state for lesson in judge(STEPS, dict(records), there)]


def test_at_first_the_first_step_is_next() -> None:
    assert states() == ["next", "open", "open", "open"]


def test_what_passed_is_done_and_the_one_after_it_is_next() -> None:
    assert states(record("00_look", 1), record("05_publish", 2)) == ["done", "done", "next", "open"]
    assert states(record("05_publish", 2)) == ["next", "done", "open", "open"]


def test_a_failed_check_or_a_lost_object_breaks_a_step() -> None:
    failed = judge(STEPS, dict([record("00_look", 1), record("05_publish", 2, "status", "alpn")]), THERE)
    assert [x.state for x in failed] == ["done", "broken", "open", "open"]
    assert failed[1].why == "failed: status; alpn"
    lost = judge(STEPS, dict([record("00_look", 1), record("05_publish", 2)]), {GATEWAY: []})
    assert lost[1].why == f"gone: {GATEWAY} httpserver-istio/gohttpserver-svc"
    elsewhere = record("05_publish", 2, gateway_name="mine")
    assert states(record("00_look", 1), elsewhere, there={GATEWAY: ["httpserver-istio/mine"]})[1] == "done"


def test_a_lab_that_is_down_loses_nothing() -> None:
    assert states(record("00_look", 1), record("05_publish", 2), there=None)[1] == "done"


def test_a_passed_cleanup_starts_over() -> None:
    before = [record("00_look", 1), record("05_publish", 2)]
    assert states(*before, record("90_cleanup", 3), there={}) == ["next", "open", "open", "done"]
    assert states(*before, record("90_cleanup", 3, "left")) == ["done", "done", "next", "broken"]
    again = record("00_look", 4)
    assert states(again, before[1], record("90_cleanup", 3), there={}) == ["done", "next", "open", "open"]


def test_a_broken_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "00_look.json").write_text("{")
    assert lessons.records(tmp_path) == {}


CELL = "from meshlib import checkpoint\ncheckpoint.check('status', {}, 200)\ncheckpoint.verdict()"


def test_a_verdict_on_the_lab_is_kept_and_one_elsewhere_is_not(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    parameters = "target: str = 'embedded'\nreplicas: int = 2"
    bench.put("00_good.ipynb", bench.notebook(CELL.format(200), parameters=parameters))
    bench.put("01_bad.ipynb", bench.notebook(CELL.format(404), parameters=parameters))
    assert bench.run(overrides=["replicas=3"]).code == 4
    kept = lessons.records(tmp_path / "home" / "lessons")
    assert {name: each.failed for name, each in kept.items()} == {"00_good": [], "01_bad": ["status"]}
    assert kept["00_good"].parameters == {"target": "embedded", "replicas": 3}
    (tmp_path / "home" / "lessons" / "00_good.json").unlink()
    real = "target: str = 'embedded'\ncontext: str = ''\nconfirm_context: str = ''"
    bench.put("00_good.ipynb", bench.notebook(CELL.format(200), parameters=real))
    bench.run(only=["00"], overrides=["target=kubeconfig", "context=x", "confirm_context=x"])
    assert set(lessons.records(tmp_path / "home" / "lessons")) == {"01_bad"}


def test_the_start_page_shows_states_and_links_and_is_no_step(bench: Any) -> None:
    bench.put("00_one.ipynb", bench.notebook("1"))
    path = startpage.write(bench.notebooks)
    page = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(page)
    shown = page.cells[1].outputs[0].data["text/markdown"]
    assert "| [00_one](00_one.ipynb) | A title | ▶ **next** |" in shown
    assert "meshlib lab up" in shown
    assert [each.name for each in notebooks.discover(bench.notebooks)] == ["00_one"]


@pytest.mark.parametrize("arguments", [["--list"], []])
def test_checkpoint_lists_the_steps(bench: Any, arguments: list[str]) -> None:
    bench.put("00_one.ipynb", bench.notebook("1"))
    bench.put("01_two.ipynb", bench.notebook("1"))
    command = ["lab", "checkpoint", *arguments, "--notebooks", str(bench.notebooks)]
    done = CliRunner().invoke(root, command, catch_exceptions=False)
    assert done.output.splitlines()[1:] == [f"{'00_one':26} next", f"{'01_two':26} open"]


def test_the_plan_fills_in_what_a_step_changes(bench: Any) -> None:
    made = bench.notebook("1")
    made.metadata.meshlib = {"changes": ["services {namespace}/{app}"]}
    path = bench.put("00_one.ipynb", made)
    command = ["run", "--plan", "-p", "app=shop", "--notebooks", str(bench.notebooks)]
    done = CliRunner().invoke(root, command, catch_exceptions=False)
    assert "changes: services httpserver-istio/shop\n" in done.output
    made.metadata.meshlib.changes = ["services {nmespace}/x"]
    path.write_text(json.dumps(made))
    assert "did you mean namespace?" in notebooks.read(path).problems[0]
