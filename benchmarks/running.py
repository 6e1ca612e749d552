"""The runner against papermill alone: the same notebooks, one after the other, in the same run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbformat import v4

from benchmarks.table import Row

CELLS = ("replicas: int = 2", "import meshlib.parameters\n\ncfg = meshlib.parameters.validate(globals())")
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


def ours(folder: Path, out: Path, home: Path) -> float:
    """Seconds of one run with its record and pages, without the time inside cells; no lab is started."""
    command = [sys.executable, "-m", "meshlib", "run", "--notebooks", str(folder), "--out", str(out)]
    start = time.monotonic()
    subprocess.run(command, env={**os.environ, "MESHLIB_HOME": str(home)}, check=True, capture_output=True)
    spent_s = time.monotonic() - start
    manifest = json.loads((out / "latest" / "manifest.json").read_text())
    return spent_s - sum(float(step["cells_s"]) for step in manifest["steps"])


def theirs(folder: Path, out: Path) -> float:
    """Seconds that papermill needs in one process, imports included, time inside cells included."""
    out.mkdir(exist_ok=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", PAPERMILL, str(folder), str(out)], check=True, capture_output=True)
    return time.monotonic() - start


def compare(count: int, rounds: int) -> list[Row]:
    """Rounds of both, by turns; medians."""
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
        base = Path(name)
        folder = base / "notebooks"
        folder.mkdir()
        notebooks(folder, count)
        pairs = [
            (ours(folder, base / "runs", base / "home"), theirs(folder, base / "papermill"))
            for _ in range(rounds)
        ]
    runs_s, peers_s = zip(*pairs, strict=True)
    ratios = ", ".join(f"{run_s / peer_s:.2f}" for run_s, peer_s in pairs)
    return [
        Row(
            "Running",
            f"{count} empty notebooks, outside cells",
            "s",
            statistics.median(runs_s),
            "papermill, one process",
            statistics.median(peers_s),
            "≤ 0.5",
            f"ours with record, report and run index; ratio by round: {ratios}",
        )
    ]
