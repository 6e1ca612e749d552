"""The runner against papermill alone: the same notebooks, one after the other, in the same run."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from nbformat import v4

from benchmarks.table import Row

CELLS = ("replicas: int = 2", "import meshlib.parameters\n\ncfg = meshlib.parameters.validate(globals())")
PR_SET_CHILD_SUBREAPER = 36
PAPERMILL = """
import sys
from pathlib import Path
import papermill
for path in sorted(Path(sys.argv[1]).glob("*.ipynb")):
    target = f"{sys.argv[2]}/{path.name}"
    papermill.execute_notebook(str(path), target, kernel_name="python3", progress_bar=False)
"""


def notebooks(folder: Path, count: int) -> None:
    """`count` notebooks with nothing in them but what the runner asks of a notebook."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [v4.new_markdown_cell("# Empty\n\nNothing."), *map(v4.new_code_cell, CELLS)]
    made.cells[1].metadata.tags = ["parameters"]
    for number in range(count):
        (folder / f"{number:02}_empty.ipynb").write_text(json.dumps(made))


@dataclass(frozen=True)
class Spent:
    """What a process and all its descendants took: wall and CPU time."""

    wall_s: float
    cpu_s: float


def ours(folder: Path, out: Path, home: Path) -> Spent:
    """One run with its record and pages; wall time without that inside cells, CPU time with it; no lab."""
    command = [sys.executable, "-m", "meshlib", "run", "--notebooks", str(folder), "--out", str(out)]
    spent = measured(command, {**os.environ, "MESHLIB_HOME": str(home)})
    manifest = json.loads((out / "latest" / "manifest.json").read_text())
    return Spent(spent.wall_s - sum(float(step["cells_s"]) for step in manifest["steps"]), spent.cpu_s)


def theirs(folder: Path, out: Path) -> Spent:
    """papermill in one process: imports and the time inside cells included."""
    out.mkdir(exist_ok=True)
    return measured([sys.executable, "-c", PAPERMILL, str(folder), str(out)], dict(os.environ))


def measured(command: list[str], env: dict[str, str]) -> Spent:
    """Runs `command`.  The CPU time is that of its descendants too, of orphaned ones on Linux only."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=env, check=True, capture_output=True)
    wall_s = time.monotonic() - start
    while psutil.Process().children():
        os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def adopt_orphans() -> None:
    """Makes this process the parent of orphaned descendants, whose CPU time is lost to it otherwise."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def compare(count: int, rounds: int) -> list[Row]:
    """Rounds of both, by turns; medians, and the ratio of each round."""
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
        base = Path(name)
        folder = base / "notebooks"
        folder.mkdir()
        notebooks(folder, count)
        pairs = [
            (ours(folder, base / "runs", base / "home"), theirs(folder, base / "papermill"))
            for _ in range(rounds)
        ]
    wall = [(run.wall_s, peer.wall_s) for run, peer in pairs]
    cpu = [(run.cpu_s, peer.cpu_s) for run, peer in pairs]
    return [
        _row(f"{count} empty notebooks, outside cells", "s", wall, "≤ 0.5"),
        _row(f"{count} empty notebooks, cells included", "CPU-s", cpu, ""),
    ]


def _row(what: str, unit: str, pairs: list[tuple[float, float]], target: str) -> Row:
    runs, peers = zip(*pairs, strict=True)
    ratios = ", ".join(f"{run / peer:.2f}" for run, peer in pairs)
    note = f"ours with record, report and run index; ratio by round: {ratios}"
    medians = statistics.median(runs), statistics.median(peers)
    return Row("Running", what, unit, medians[0], "papermill, one process", medians[1], target, note)
