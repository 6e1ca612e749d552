"""What a benchmark yields, the facts of the machine, and the table that is printed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Row:
    """Our figure beside a peer's. `target` is a bound on the ratio, or on ours where there is no peer."""

    group: str
    what: str
    unit: str
    ours: float | None
    peer: str = ""
    theirs: float | None = None
    target: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.ours is not None and self.theirs else None


HEAD = ("what", "unit", "ours", "peer", "theirs", "ratio", "target", "note")


def machine() -> list[str]:
    """What the figures depend on, a line each."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line),
            model,
        )
    load_1, load_5, _ = os.getloadavg()
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.platform()}",
        f"{os.cpu_count()} × {model}, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        f"load average before the run {load_1:.1f} (1 min), {load_5:.1f} (5 min)",
        f"Python {platform.python_version()}",
        *map(_version, ("hey", "wrk", "h2load", "envoy")),
    ]


def _version(tool: str) -> str:
    path = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
    if path is None:
        return f"{tool} not installed"
    if tool == "hey":
        return "hey (has no version option)"
    flag = "-v" if tool == "wrk" else "--version"
    run = subprocess.run([path, flag], capture_output=True, text=True, timeout=20, check=False)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
    return lines[0].replace(path, tool).strip()[:60] if lines else tool


def markdown(rows: Sequence[Row], facts: Sequence[str]) -> str:
    """The facts and one table a group."""
    parts = ["\n".join(f"- {fact}" for fact in facts)]
    for group in dict.fromkeys(row.group for row in rows):
        lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
        for row in (row for row in rows if row.group == group):
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            cells = (
                row.what,
                row.unit,
                _figure(row.ours),
                row.peer,
                _figure(row.theirs),
                ratio,
                row.target,
                row.note,
            )
            lines.append(f"| {' | '.join(cells)} |")
        parts.append(f"### {group}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
