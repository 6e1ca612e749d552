"""Runs compared with each other, found again, deleted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from meshlib.runbook import folders, history, record, state, trends

STEADY = [{"p99_ms": v, "duration_s": 60.0, "rows": 1.0} for v in (10.0, 10.2, 9.9, 10.1, 10.0)]


@pytest.mark.parametrize(
    ("now", "good"),
    [
        ({"p99_ms": 10.3}, True),
        ({"p99_ms": 12.4}, True),  # within the margin of a quarter
        ({"p99_ms": 12.6}, False),
        ({"p99_ms": 2.0}, True),
        ({"rows": 99.0}, True),  # not a number where more is worse
        ({"duration_s": 100.0}, False),
    ],
)
def test_worse_means_above_what_spread_and_margin_allow(now: dict[str, float], good: bool) -> None:
    found = history.compare(STEADY, now)
    assert found is not None
    assert found.good is good
    assert good or next(iter(now)) in found.reason


def test_noisy_runs_allow_more() -> None:
    noisy = [{"p99_ms": v} for v in (5.0, 20.0, 8.0, 15.0, 10.0)]
    assert history.compare(noisy, {"p99_ms": 25.0}) == history.compare(noisy, {"p99_ms": 10.0})


def test_errors_after_none_are_a_regression() -> None:
    found = history.compare([{"error_percent": 0.0}] * 4, {"error_percent": 0.1})
    assert found is not None
    assert not found.good


def test_too_few_runs_say_nothing() -> None:
    assert history.compare(STEADY[:2], {"p99_ms": 99.0}) is None


@pytest.mark.parametrize("top", [0.0, 0.003, 0.12, 0.9, 1, 3.1, 9.9, 10, 47, 999, 12345])
def test_ticks_are_few_and_reach_the_top(top: float) -> None:
    ticks = trends.ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top
    assert 2 <= len(ticks) <= 7


def step(name: str, outcome: str, before: state.State, after: state.State) -> record.StepRecord:
    return record.StepRecord(name=name, title="", outcome=outcome, state_before=before, state_after=after)


EMPTY: state.State = {}
ONE: state.State = {"secrets": ["a/s"], "pods": ["a/p-1"]}
TWO: state.State = {"secrets": ["a/s"], "services": ["a/v"], "pods": ["a/p-1"]}


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (TWO, 2),
        ({**TWO, "pods": ["a/p-2"]}, 2),
        ({"services": ["a/v"]}, 0),
        (ONE, 1),
        (EMPTY, 0),
    ],
)
def test_a_resumed_run_goes_on_where_the_cluster_stopped_showing_what_was_done(
    now: state.State, first: int
) -> None:
    before = [
        step("00", "passed", EMPTY, ONE),
        step("01", "passed", ONE, TWO),
        step("02", "failed", TWO, TWO),
    ]
    assert state.first_to_do(["00", "01", "02"], before, now) == first


def test_nothing_is_skipped_after_a_run_that_did_nothing() -> None:
    assert state.first_to_do(["00"], [step("00", "failed", EMPTY, EMPTY)], EMPTY) == 0


def test_resume_runs_only_what_is_left(bench: Any, tmp_path: Path) -> None:
    bench.put("00_one.ipynb", bench.notebook("1"))
    bench.put(
        "01_two.ipynb", bench.notebook(f"assert __import__('os').path.exists({str(tmp_path / 'ok')!r})")
    )
    assert bench.run().code == 1
    (tmp_path / "ok").touch()
    result = bench.run(resume="latest")
    assert (result.code, [s.outcome for s in result.manifest.steps]) == (0, ["skipped", "passed"])


def test_pruning_keeps_the_newest_the_latest_and_those_under_way(bench: Any) -> None:
    bench.put("00_only.ipynb", bench.notebook("1"))
    made = [bench.run(overrides=["replicas=0"]).folder for _ in range(4)]
    folders.point_latest(made[0])
    manifest = record.load(made[1] / "manifest.json", record.Manifest)
    manifest.outcome = "running"
    record.write(made[1] / "manifest.json", record.encode(manifest))
    gone = folders.prune(bench.out, 1)
    left = {p.name for p, _ in folders.runs(bench.out)}
    assert len(gone) == 1
    assert {made[0].name, made[1].name} < left
    assert os.path.realpath(bench.out / "latest") == str(made[0])


def test_what_only_left_out_is_not_done_and_what_an_earlier_resume_skipped_is() -> None:
    left_out, resumed = step("01", "skipped", EMPTY, EMPTY), step("00", "skipped", EMPTY, ONE)
    resumed.reason = "passed in an-earlier-run"
    assert state.first_to_do(["00", "01"], [resumed, left_out], ONE) == 1
    assert state.first_to_do(["00", "01"], [resumed, left_out], EMPTY) == 0
