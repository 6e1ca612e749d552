"""Checks are collected, recorded for the runner, and fatal only at the verdict."""

import json
import math
from pathlib import Path

import pytest

from meshlib import checkpoint
from meshlib.errors import CheckFailed


def test_all_failures_are_named_at_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.check("status", 200, 404)
    checkpoint.check("days", checkpoint.between(1, 398, "days"), 90.0)
    checkpoint.check("alpn", "h2", "http/1.1")
    with pytest.raises(
        CheckFailed, match="2 of 3 checks failed\nstatus: expected 200, observed 404\nalpn: expected h2"
    ):
        checkpoint.verdict()
    assert "FAIL" in capsys.readouterr().out


def test_a_checkpoint_without_checks_fails() -> None:
    with pytest.raises(CheckFailed, match="no checks"):
        checkpoint.verdict()


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        (checkpoint.between(5, 15), 10, 16),
        (checkpoint.between(5, 15), 5.0, math.nan),
        (checkpoint.at_least(2), 2, 1),
        (checkpoint.one_of("h2", "h3"), "h2", "http/1.1"),
        (checkpoint.matches("^ok"), "ok\n", "nok"),
        (checkpoint.contains("a", "b"), ["a", "b", "c"], ["a"]),
        (checkpoint.equals(["x"]), ["x"], []),
    ],
)
def test_expectations(expected: checkpoint.Expectation, good: object, bad: object) -> None:
    assert expected.holds(good)
    assert not expected.holds(bad)


def test_a_mapping_reads_as_words() -> None:
    assert checkpoint.equals({"200": 4, "refused": 1}).words == "200: 4, refused: 1"


def test_the_runner_gets_one_line_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLIB_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("MESHLIB_STEP", "05_publish")
    checkpoint.check("status", 200, 200)
    checkpoint.check("body", "ok", "")
    with pytest.raises(CheckFailed):
        checkpoint.verdict()
    lines = [json.loads(line) for line in (tmp_path / "checks/05_publish.jsonl").read_text().splitlines()]
    assert [(line["step"], line["name"], line["verdict"]) for line in lines] == [
        ("05_publish", "status", "pass"),
        ("05_publish", "body", "fail"),
    ]
    assert lines[1]["observed"] == "nothing"
    assert (tmp_path / "tables/05_publish-checks.csv").is_file()
