"""A small process that outlives a killed runner, ends what the runner started, and writes how it ended.

The runner writes a line for each thing it owns (`folder P`, `kernel PID P`, `gone PID P`, `lab HOME`) and
`done` at the end.  If the pipe closes without `done`, the runner was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import meshlib


class Leash:
    """The runner's end of the pipe."""

    def __init__(self, log: Path) -> None:
        here = str(Path(meshlib.__file__).parent.parent)
        path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meshlib.runbook.leash"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C in a terminal must not reach it
                env={**os.environ, "PYTHONPATH": path},
            )

    def tell(self, line: str) -> None:
        """Adds or removes something that the runner owns."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def let_go(self) -> None:
        """The runner has cleaned up itself."""
        with suppress(BrokenPipeError):
            self.tell("done")
        self._process.communicate()


def watch(lines: Iterable[str]) -> int:
    """Reads what the runner owns until its end; cleans up unless it said `done`."""
    owned: dict[str, set[str]] = {"folder": set(), "kernel": set(), "lab": set()}
    for line in lines:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "done":
            return 0
        if word == "gone":
            owned["kernel"].discard(rest)
        else:
            owned[word].add(rest)
    for kernel in owned["kernel"]:
        pid, _, folder = kernel.partition(" ")
        with suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    for home in owned["lab"]:
        end_lab(Path(home))
    from meshlib.runbook import folders  # only now: an idle leash stays small

    for folder in owned["folder"]:
        folders.mark_killed(Path(folder))
    return 0


def end_lab(home: Path) -> None:
    """Ends the lab of `home` and deletes the folder."""
    from meshlib.lab import cluster

    cluster.stop(home)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(watch(sys.stdin))
