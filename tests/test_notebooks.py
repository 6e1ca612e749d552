"""The rules of the notebooks: short cells, one parameters cell, no outputs, stable ids, imports in one
cell."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import nbformat
import pytest

from meshlib.runbook import notebooks

FOLDER = Path(__file__).parent.parent / "notebooks"
PATHS = sorted(path for path in FOLDER.glob("*.ipynb") if notebooks.NAME.fullmatch(path.name))
MAX_LINES, MEDIAN_LINES = 15, 4

pytestmark = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    nb = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return [cell for cell in nb.cells if cell.cell_type == kind]


def lines(cell: nbformat.NotebookNode) -> int:
    return len([line for line in cell.source.splitlines() if line.strip()])


def test_the_runner_finds_no_problem(path: Path) -> None:
    assert notebooks.read(path).problems == ()


def test_cells_are_short(path: Path) -> None:
    code = [cell for cell in cells(path, "code") if "parameters" not in cell.metadata.get("tags", [])]
    assert {cell.id: lines(cell) for cell in code if lines(cell) > MAX_LINES} == {}
    assert statistics.median(map(lines, code)) <= MEDIAN_LINES


def test_nothing_of_a_run_is_stored(path: Path) -> None:
    nb = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert nb.metadata.kernelspec.name == "python3"
    assert "papermill" not in nb.metadata
    for cell in cells(path, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None
    ids = [cell.id for cell in nb.cells]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith(path.stem[:2]) for each in ids)


def test_imports_stand_in_the_first_cell(path: Path) -> None:
    code = cells(path, "code")
    for cell in code[1:]:
        tree = ast.parse(cell.source)
        assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))], (
            cell.id
        )


def test_what_is_shown_is_the_last_expression(path: Path) -> None:
    """Anywhere else Jupyter drops it without a word."""
    lost = []
    for cell in cells(path, "code"):
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and node is not tree.body[-1] and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                lost += [f"{cell.id}: {called}"] if called.startswith(("show.", "charts.")) else []
    assert lost == []


def test_the_story_is_complete(path: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    code = "\n".join(cell.source for cell in cells(path, "code"))
    assert prose.startswith("# ")
    for part in ("**Why.**", "**Needed before.**", "## Checkpoint", "## Try"):
        assert part in prose, part
    assert code.rstrip().endswith("verdict()")
    assert "show.commands(" in code
    assert "embedded" not in code.replace('target: str = "embedded"', "").replace("the embedded lab", "")
