"""How far a reader is: the state of each step on the embedded lab, from its checkpoints and the cluster.

A step is *done* when its last checkpoint passed and what it made is still there, *broken* when a check failed
or something that it made is gone.  The first step that is not done is *next*.  A passed clean-up starts over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from meshlib import home
from meshlib.parameters import Config, defaults
from meshlib.runbook import notebooks
from meshlib.runbook.eye import Eye
from meshlib.runbook.notebooks import Step
from meshlib.runbook.state import KINDS, State

logger = logging.getLogger("meshlib.run")

CLEANUP = "90"
MARKS = {"done": "✔ done", "next": "▶ **next**", "broken": "✖ **broken**", "open": "· open"}


class Record(msgspec.Struct, kw_only=True):
    """What the last checkpoint of a step wrote; `at` is UTC, RFC 3339."""

    step: str
    at: str
    failed: list[str]
    parameters: dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Lesson:
    """A step and its state (a key of `MARKS`); `why` says what is wrong, or when it was done."""

    step: Step
    state: str
    why: str = ""


def records(folder: Path) -> dict[str, Record]:
    """Step → its last checkpoint; an unreadable file counts as no checkpoint and is logged."""
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Record)
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("%s: %s", path, error)
    return found


def judge(steps: Sequence[Step], done: Mapping[str, Record], there: State | None) -> list[Lesson]:
    """The state of each step; `there` is what the cluster shows, None when it was not asked."""
    last_cleanup = max(
        (r.at for r in done.values() if r.step.startswith(CLEANUP) and not r.failed), default=""
    )
    last = max((r.at for r in done.values()), default="")
    lessons: list[Lesson] = []
    for step in steps:
        record = done.get(step.name)
        first = all(lesson.state == "done" for lesson in lessons)
        if record is None or record.at < (last if step.number == CLEANUP else last_cleanup):
            lessons.append(Lesson(step, "next" if first else "open"))
        elif why := _wrong(step, record, there):
            lessons.append(Lesson(step, "broken", why))
        else:
            lessons.append(Lesson(step, "done", record.at[:16].replace("T", " ") + " UTC"))
    return lessons


def _wrong(step: Step, record: Record, there: State | None) -> str:
    if record.failed:
        return f"failed: {'; '.join(record.failed)}"
    if there is None:
        return ""
    wanted = step.changed({**defaults(), **record.parameters})
    named = [change.split(" ") for change in wanted]
    gone = [
        " ".join(words)
        for words in named
        if len(words) == 2 and words[0] in KINDS and words[1] not in there.get(words[0], ())
    ]
    return f"gone: {', '.join(gone)}" if gone else ""


class Overview:
    """The steps with links and states, for the start page; Markdown, so that JupyterLab follows its links."""

    def __init__(self, lessons: Sequence[Lesson], lab: str) -> None:
        self._lessons, self._lab = lessons, lab

    def _repr_markdown_(self) -> str:
        rows = [f"{self._lab}\n\n| Step | | State | |\n|:--|:--|:--|:--|"]
        for lesson in self._lessons:
            link = f"[{lesson.step.name}]({lesson.step.path.name})"
            rows.append(f"| {link} | {lesson.step.title} | {MARKS[lesson.state]} | {lesson.why} |")
        return "\n".join(rows) + "\n"

    def __repr__(self) -> str:
        lines = [f"{x.step.name:26} {x.state:7} {x.why}".rstrip() for x in self._lessons]
        return "\n".join([self._lab, *lines])


def look(folder: Path) -> Overview:
    """How far the reader of the notebooks in `folder` is on the lab of `lab_home()`."""
    done = records(home.lessons())
    newest = max(done.values(), key=lambda record: record.at, default=None)
    values = {**defaults(), **(newest.parameters if newest else {})}
    eye = Eye(Config(values))
    up = home.lab_kubeconfig().exists() and eye.about()[0]
    lessons = judge(notebooks.discover(folder), done, eye.snapshot() if up else None)
    lab = f"The lab is up: {up}" if up else "The lab is not up; in a terminal: `meshlib lab up`"
    return Overview(lessons, lab)


def overview() -> Overview:
    """The same for the notebooks of the working directory, which is that of the start page."""
    return look(Path.cwd())
