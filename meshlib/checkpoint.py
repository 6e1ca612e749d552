"""Checks as results: expected against observed, collected, shown as one table, and fatal when one failed.

    check("HTTP status", 200, evidence.status)
    check("days left", between(1, 398), evidence.days_left)
    verdict()

With `MESHLIB_RUN_DIR` and `MESHLIB_STEP` set every check is also appended to
`$MESHLIB_RUN_DIR/checks/<step>.jsonl`.  On the embedded lab each verdict is also kept in the lab's home,
`lessons/<step>.json`: that is how the start page of `make lab` knows how far its reader is.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from IPython import get_ipython
from IPython.display import display

from meshlib import home, show
from meshlib.errors import CheckFailed
from meshlib.parameters import Config


@dataclass(frozen=True)
class Expectation:
    """A condition on the observed value and the words that a table shows for it."""

    words: str
    holds: Callable[[object], bool]


@dataclass(frozen=True)
class Check:
    """One expectation met with one observation."""

    name: str
    expected: str
    observed: str
    passed: bool

    @property
    def verdict(self) -> str:
        return "pass" if self.passed else "FAIL"


_checks: list[Check] = []


def equals(value: object) -> Expectation:
    """The observed value is `value`."""
    return Expectation(_words(value), lambda seen: bool(seen == value))


def between(low: float, high: float, unit: str = "") -> Expectation:
    """A number from `low` to `high`, both included; nan never is."""
    return Expectation(
        f"{low:g} to {high:g} {unit}".strip(),
        lambda seen: isinstance(seen, (int, float)) and low <= seen <= high,
    )


def at_least(low: float, unit: str = "") -> Expectation:
    """A number not below `low`."""
    return Expectation(
        f"at least {low:g} {unit}".strip(), lambda seen: isinstance(seen, (int, float)) and seen >= low
    )


def one_of(*values: object) -> Expectation:
    """One of the values."""
    return Expectation(" or ".join(map(_words, values)), lambda seen: seen in values)


def matches(pattern: str) -> Expectation:
    """A text in which the regular expression is found."""
    return Expectation(
        f"matches {pattern}", lambda seen: isinstance(seen, str) and bool(re.search(pattern, seen))
    )


def contains(*members: object) -> Expectation:
    """A collection with all of the members (more may be there)."""
    return Expectation(
        f"contains {', '.join(map(_words, members))}",
        lambda seen: isinstance(seen, Collection) and all(member in seen for member in members),
    )


def check(name: str, expected: object, observed: object) -> None:
    """Record one check; `expected` is a value or one of the expectations above.  Never raises: `verdict`
    does."""
    wanted = expected if isinstance(expected, Expectation) else equals(expected)
    result = Check(name, wanted.words, _words(observed), wanted.holds(observed))
    _checks.append(result)
    _record(result)


def verdict() -> None:
    """Show the table of all checks since the last verdict; raises `CheckFailed` when one failed or none was
    made."""
    done = list(_checks)
    _checks.clear()
    if not done:
        raise CheckFailed("this checkpoint made no checks")
    rows = [(check.name, check.expected, check.observed, check.verdict) for check in done]
    display(show.table(pd.DataFrame(rows, columns=["Check", "Expected", "Observed", "Verdict"]), "checks"))
    failed = [check for check in done if not check.passed]
    _keep_lesson(failed)
    if failed:
        lines = [f"{check.name}: expected {check.expected}, observed {check.observed}" for check in failed]
        raise CheckFailed(f"{len(failed)} of {len(done)} checks failed\n" + "\n".join(lines))


def _record(check: Check) -> None:
    run_dir, step = os.environ.get("MESHLIB_RUN_DIR"), os.environ.get("MESHLIB_STEP")
    if not run_dir or not step:
        return
    folder = Path(run_dir) / "checks"
    folder.mkdir(parents=True, exist_ok=True)
    line = {
        "step": step,
        "name": check.name,
        "expected": check.expected,
        "observed": check.observed,
        "verdict": check.verdict.lower(),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
    }
    with (folder / f"{step}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _keep_lesson(failed: list[Check]) -> None:
    """For the start page; Jupyter names the notebook in JPY_SESSION_NAME, the runner in MESHLIB_STEP."""
    step = os.environ.get("MESHLIB_STEP") or Path(os.environ.get("JPY_SESSION_NAME", "")).stem
    shell = get_ipython()
    cfg = shell.user_ns.get("cfg") if shell is not None else None
    if (
        not isinstance(cfg, Config)
        or getattr(cfg, "target", "") != "embedded"
        or not home.lab_home().is_dir()
    ):
        return
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", step):
        return
    lesson = {
        "step": step,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "failed": [check.name for check in failed],
        "parameters": cfg.as_dict(),
    }
    home.lessons().mkdir(mode=0o700, exist_ok=True)
    beside = home.lessons() / f".{step}.{os.getpid()}"
    beside.write_text(json.dumps(lesson) + "\n")
    beside.replace(home.lessons() / f"{step}.json")


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_words(each)}" for key, each in value.items()) or "nothing"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(_words(member) for member in value) or "nothing"
    return str(value) if value not in ("", None) else "nothing"
