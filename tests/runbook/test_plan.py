"""What a run would do is said without doing it, in the words of a run that does it."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.errors import ParameterError
from meshlib.runbook import folders, plan


def put(bench: Any) -> None:
    for number, source in enumerate(("1", "1", "raise ValueError")):
        made = bench.notebook(source)
        made.metadata.meshlib = {
            "changes": [] if number == 0 else [f"services {{namespace}}/made-by-{number}"]
        }
        bench.put(f"{number:02}_step.ipynb", made)


def test_a_plan_names_what_changes_and_writes_nothing(bench: Any) -> None:
    put(bench)
    text, code = plan.describe(bench.request(overrides=["replicas=3"]))
    assert code == 0
    assert "changes: services httpserver-istio/made-by-2" in text
    assert "differs from the default: replicas" in text
    assert not bench.out.exists()


def test_a_read_only_plan_has_the_steps_that_a_read_only_run_has(bench: Any) -> None:
    put(bench)
    text, _ = plan.describe(bench.request(read_only=True))
    assert "00_step" in text
    assert "01_step" not in text


def test_a_plan_to_resume_says_what_passed(bench: Any) -> None:
    put(bench)
    failed = bench.run()
    assert bench.run(overrides=["replicas=99"]).code == 2  # ends before its first step
    assert (bench.out / "latest").resolve() != failed.folder
    assert folders.resumable(bench.out, "latest") == failed.folder
    text, _ = plan.describe(bench.request(resume="latest"))
    assert text.count(f"passed in {failed.folder.name}") == 2
    with pytest.raises(ParameterError, match="there is no run 'nosuch'"):
        plan.describe(bench.request(resume="nosuch"))


def test_nothing_to_do_is_an_error(bench: Any) -> None:
    put(bench)
    with pytest.raises(ParameterError, match="leaves no notebook from 02 on"):
        plan.describe(bench.request(only=["00"], first="02"))
