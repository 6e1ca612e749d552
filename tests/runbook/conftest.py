"""Tiny notebooks, and runs of them that need no cluster: $MESHLIB_HOME names a lab that nobody asks."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from nbformat import v4

from meshlib.runbook import folders, record
from meshlib.runbook.run import Request, run

PARAMETERS = "replicas: int = 2\nrun_id: str = ''"
VALIDATE = "import meshlib.parameters\n\ncfg = meshlib.parameters.validate(globals())"


def notebook(
    *cells: str, parameters: str | None = PARAMETERS, tags: dict[int, list[str]] | None = None
) -> Any:
    """A notebook that keeps the rules; `tags` are for the cells by their place among `cells`."""
    made = v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    )
    made.cells = [v4.new_markdown_cell("# A title\n\nA purpose.")]
    if parameters is not None:
        made.cells += [
            v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            v4.new_code_cell(VALIDATE),
        ]
    for number, cell in enumerate(cells):
        made.cells.append(v4.new_code_cell(cell, metadata={"tags": (tags or {}).get(number, [])}))
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
    return made


@dataclass
class Result:
    """What a run left: exit code, manifest, folder, and what it printed."""

    code: int
    folder: Path
    printed: str

    @property
    def manifest(self) -> record.Manifest:
        return record.load(self.folder / "manifest.json", record.Manifest)

    @property
    def step(self) -> record.StepRecord:
        """The first step that was tried."""
        return next(step for step in self.manifest.steps if step.attempts)

    def everything(self) -> str:
        """All text that the run wrote."""
        files = [p for p in self.folder.rglob("*") if p.is_file()]
        return "\n".join(p.read_text(encoding="utf-8", errors="replace") for p in files)


@dataclass
class Bench:
    """A folder of notebooks and a folder for runs."""

    notebooks: Path
    out: Path

    notebook = staticmethod(notebook)

    def put(self, name: str, made: Any) -> Path:
        path = self.notebooks / name
        path.write_text(made if isinstance(made, str) else json.dumps(made), encoding="utf-8")
        return path

    def request(self, **options: Any) -> Request:
        return replace(Request(notebooks=self.notebooks, out=self.out, html=False), **options)

    def run(self, *, clock: folders.Clock | None = None, **options: Any) -> Result:
        out = io.StringIO()
        before = set(self.out.glob("2*")) if self.out.is_dir() else set()
        code = run(self.request(**options), clock=clock, out=out)
        made = set(self.out.glob("2*")) - before if self.out.is_dir() else set()
        return Result(code, made.pop() if made else self.out, out.getvalue())

    def run_cells(self, *cells: str, overrides: Sequence[str] = (), **options: Any) -> Result:
        """A run of one notebook with these cells."""
        self.put("00_only.ipynb", notebook(*cells, **{k: options.pop(k) for k in ("tags",) if k in options}))
        return self.run(overrides=overrides, **options)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("MESHLIB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "notebooks").mkdir()
    return Bench(tmp_path / "notebooks", tmp_path / "outputs")
