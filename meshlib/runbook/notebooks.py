"""The notebooks of a runbook: which there are, what each declares, and whether it keeps the rules."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from meshlib.errors import ParameterError, PreflightError
from meshlib.parameters import TABLE, unknown

NAME = re.compile(r"(\d\d)_[a-z0-9_]+\.ipynb")
VALIDATES = re.compile(r"cfg\s*=\s*(meshlib\.)?parameters\.validate\(globals\(\)\)")


@dataclass(frozen=True)
class Step:
    """One notebook.  `name` is `05_publish`; `declares` maps its parameters to (type, default) as written;
    `observes`: its metadata says that it changes nothing, so a read-only run has it."""

    name: str
    path: Path
    title: str
    purpose: str
    declares: Mapping[str, tuple[str, object]]
    retries: int = 0
    changes: tuple[str, ...] = ()
    observes: bool = False
    kernel: str = "python3"
    language: str = "python"
    problems: tuple[str, ...] = field(default=())

    @property
    def number(self) -> str:
        return self.name[:2]

    def changed(self, values: Mapping[str, object]) -> list[str]:
        """What it makes and leaves, as `kind namespace/name`, or in words, with the parameters' values."""
        return [change.format_map(values) for change in self.changes]


def discover(folder: Path) -> list[Step]:
    """Every `NN_name.ipynb` of `folder` in order, broken ones included with their `problems`."""
    paths = sorted(p for p in folder.glob("*.ipynb") if NAME.fullmatch(p.name))
    if not paths:
        raise PreflightError(f"there is no notebook NN_name.ipynb in {folder}", fix="give --notebooks DIR")
    return [read(path) for path in paths]


def read(path: Path) -> Step:
    """One notebook; what is wrong with it is in `problems`, never raised."""
    blank = Step(name=path.stem, path=path, title=path.stem, purpose="", declares={})
    try:
        nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(nb)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, nbformat.ValidationError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return _with_problems(blank, [f"{path.name}: not a notebook: {reason}"])
    title, purpose = _heading(nb.cells, path.stem)
    spec = nb.metadata.get("kernelspec", {})
    own = nb.metadata.get("meshlib", {})
    declares, problems = _declared(nb.cells)
    changes = tuple(own.get("changes", ()))
    problems += [unknown(name) for name in _fields(changes) if name not in TABLE]
    return Step(
        name=path.stem,
        path=path,
        title=title,
        purpose=purpose,
        declares=declares,
        retries=int(own.get("retries", 0)),
        changes=changes,
        observes=own.get("changes") == [],
        kernel=spec.get("name", "python3"),
        language=spec.get("language", nb.metadata.get("language_info", {}).get("name", "python")),
        problems=tuple(f"{path.name}: {problem}" for problem in problems),
    )


def _fields(changes: Iterable[str]) -> list[str]:
    return [name for change in changes for _, name, _, _ in string.Formatter().parse(change) if name]


def _with_problems(step: Step, problems: list[str]) -> Step:
    return Step(step.name, step.path, step.title, step.purpose, step.declares, problems=tuple(problems))


def _heading(cells: Sequence[Any], stem: str) -> tuple[str, str]:
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    title = next((line[2:].strip() for line in lines if line.startswith("# ")), stem)
    prose = (
        line.strip() for line in lines if line.strip() and not line.startswith(("#", "|", "```", ">", "-"))
    )
    return title, next(prose, "")


def _declared(cells: Sequence[Any]) -> tuple[dict[str, tuple[str, object]], list[str]]:
    code = [cell for cell in cells if cell.cell_type == "code"]
    tagged = [i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return {}, [f"{len(tagged) or 'no'} cell is tagged `parameters`; there must be exactly one"]
    (at,) = tagged
    try:
        declares = declarations(code[at].source)
    except ParameterError as error:
        return {}, error.findings
    except SyntaxError as error:
        return {}, [f"the parameters cell is not Python: {error.msg}, line {error.lineno}"]
    problems = disagreements(declares)
    if len(code) <= at + 1 or not VALIDATES.search(code[at + 1].source):
        problems.append(
            "the cell after the parameters must be `cfg = meshlib.parameters.validate(globals())`"
        )
    return declares, problems


def declarations(source: str) -> dict[str, tuple[str, object]]:
    """What a parameters cell declares: name → (type, default), from lines `name: type = literal  # help`.

    Raises `ParameterError` for any other line: a value derived here goes stale when the runner overrides one.
    """
    found: list[str] = []
    declared: dict[str, tuple[str, object]] = {}
    for statement in ast.parse(source).body:
        line = ast.unparse(statement)
        match statement:
            case ast.AnnAssign(
                target=ast.Name(id=name), annotation=ast.Name(id=kind), value=ast.expr() as value
            ):
                try:
                    literal = ast.literal_eval(value)
                except ValueError:
                    found.append(f"{name}: {line!r} is not a literal; derive values in the next cell")
                    continue
                if name in declared:
                    found.append(f"{name}: declared twice")
                declared[name] = (kind, literal)
            case _:
                found.append(f"parameters cell: {line!r} is not of the form `name: type = literal`")
    if found:
        raise ParameterError(found)
    return declared


def disagreements(declared: Mapping[str, tuple[str, object]]) -> list[str]:
    """Where a notebook's declarations differ from the table: unknown name, other type, other default."""
    found: list[str] = []
    for name, (kind, default) in declared.items():
        if name not in TABLE:
            found.append(unknown(name))
        elif (kind, default) != (TABLE[name].type.__name__, TABLE[name].default):
            wanted = f"{name}: {TABLE[name].type.__name__} = {TABLE[name].default!r}"
            found.append(f"{name}: the notebook says `{name}: {kind} = {default!r}`, the table `{wanted}`")
    return found


def select(
    steps: Sequence[Step], only: Iterable[str], first: str | None, *, observing: bool = False
) -> list[Step]:
    """The steps that `--only 05` (any number of times) or `--from 03` leave; each is a number or a name.

    With `observing` only those that change nothing.  Raises `ParameterError` for one that does not exist, and
    where none is left.
    """
    known = {key for step in steps for key in (step.number, step.name)}
    wanted = [*only, *([first] if first else [])]
    if missing := [key for key in wanted if key.removesuffix(".ipynb") not in known]:
        there = ", ".join(step.name for step in steps)
        raise ParameterError([f"{key}: there is no such notebook; there are {there}" for key in missing])
    chosen = {key.removesuffix(".ipynb") for key in only}
    picked = [s for s in steps if not chosen or s.number in chosen or s.name in chosen]
    if first:
        key = first.removesuffix(".ipynb")
        picked = [s for s in picked if s.name >= next(t.name for t in steps if key in (t.number, t.name))]
    if not picked:
        raise ParameterError([f"--only leaves no notebook from {first} on"])
    if observing and not any(step.observes for step in picked):
        raise ParameterError(["read_only: none of the chosen notebooks observes only"])
    return [step for step in picked if step.observes or not observing]
