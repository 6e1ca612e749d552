"""The first page in JupyterLab: a generated notebook with the steps, their state and links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import v4

from meshlib.runbook import lessons, notebooks, record
from meshlib.runbook.notebooks import Step
from meshlib.runbook.questions import QUESTIONS

NAME = "start.ipynb"

INTRODUCTION = """\
# Start here

This lab publishes an HTTP server through an Istio ingress gateway and answers three questions about it:

| Question | Answered in |
|:--|:--|
{questions}

Walk through the steps from top to bottom. Open one, read, and run it cell by cell (Shift+Enter), or all of it
with *Run ▸ Run All Cells*. Every notebook can be run again as often as you like, also with
*Kernel ▸ Restart Kernel and Run All Cells*. Each ends with a **checkpoint**: a table of what it expected and
what it observed.

Run the cell below (click on it, Shift+Enter) to see how far you are.
"""

HELP = """\
**done**: the last checkpoint passed, and what the step made is still there.
**next**: go on here.
**broken**: a check failed, or something that the step made is gone; run that step again.

Stuck, or beyond repair? In a terminal (*File ▸ New ▸ Terminal*), from the project's folder:

| Command | What it does |
|:--|:--|
| `meshlib lab checkpoint 05` | the lab as just before step 05: all objects go, the steps before it run |
| `meshlib lab checkpoint 05 --after` | the same, step 05 included |
| `meshlib lab checkpoint --list` | the table above |
| `meshlib lab status`, `meshlib lab logs` | is the lab up, and what does it say |
| `export KUBECONFIG=$(meshlib lab kubeconfig)` | then `kubectl` works on the lab |

Restart the kernels of open notebooks after a checkpoint. *File ▸ Close and Shut Down Notebook* gives back the
memory of one that you are done with. Solutions under **Try** are folded: click on the triangle.
"""

CODE = "from meshlib.runbook import lessons\n\nlessons.overview()"


def build(overview: lessons.Overview, steps: Sequence[Step]) -> nbformat.NotebookNode:
    """The page, with the states as they are now already shown."""
    shown = {"text/markdown": overview._repr_markdown_(), "text/plain": repr(overview)}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    page = v4.new_notebook(metadata={"kernelspec": kernel})  # type: ignore[no-untyped-call]
    output = v4.new_output("execute_result", data=shown, execution_count=None)  # type: ignore[no-untyped-call]
    page.cells = [
        v4.new_markdown_cell(INTRODUCTION.format(questions=questions(steps))),  # type: ignore[no-untyped-call]
        v4.new_code_cell(CODE, outputs=[output]),  # type: ignore[no-untyped-call]
        v4.new_markdown_cell(HELP),  # type: ignore[no-untyped-call]
    ]
    for number, cell in enumerate(page.cells):
        cell.id = f"start-{number}"
    assert isinstance(page, nbformat.NotebookNode)
    return page


def questions(steps: Sequence[Step]) -> str:
    """The rows of the table of questions, with links to the notebooks that answer each."""
    rows = []
    for question in QUESTIONS:
        links = [f"[{s.name}]({s.path.name})" for s in steps if s.number in question.steps]
        rows.append(f"| {question.title} | {', '.join(links) or 'none of these notebooks'} |")
    return "\n".join(rows)


def write(folder: Path) -> Path:
    """Writes the page beside the notebooks of `folder`; returns its path."""
    path = folder / NAME
    page = build(lessons.look(folder), notebooks.discover(folder))
    record.write(path, nbformat.writes(page).encode())  # type: ignore[no-untyped-call]
    return path
