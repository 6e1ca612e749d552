"""Which processes a control plane has started, so that the next one can end those that outlived it, and
only those.

A process is known by its pid and start time together; a pid alone may long belong to someone else.
"""

from __future__ import annotations

import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

HOME = "MESHLIB_POD_HOME"  # in the environment of every process of a pod: the home of its lab
TOLERANCE_S = 0.05  # the system counts start times in ticks of 10 ms


def start_time(pid: int) -> float | None:
    """When the process started, in seconds of the epoch; None if there is none (a zombie is none)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_same(pid: int, started_s: float) -> bool:
    """Whether the process that started then under that pid still runs."""
    found = start_time(pid)
    return found is not None and abs(found - started_s) <= TOLERANCE_S


class Records:
    """`<home>/processes`: one line `<pid> <start time>` a process; entries of ended ones stay until the
    next start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        started_s = start_time(pid)
        if started_s is not None:
            with self.path.open("a") as file:
                file.write(f"{pid} {started_s!r}\n")

    def read(self) -> list[tuple[int, float]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(errors="replace").splitlines():
            pid, _, started_s = line.partition(" ")
            with suppress(ValueError):  # a line that a killed control plane was writing
                found.append((int(pid), float(started_s)))
        return found

    def end_stale(self) -> list[int]:
        """Kill what an earlier control plane of this home left running; returns the pids. Forgets all
        records.
        """
        records = self.read()
        leaders = {pid for pid, started_s in records if is_same(pid, started_s)}
        groups = {pid for pid, _ in records}
        ended = []
        for process in psutil.process_iter() if records else ():
            try:
                ours = process.pid in leaders or (
                    os.getpgid(process.pid) in groups and process.environ().get(HOME) == str(self.path.parent)
                )
                if ours:
                    process.send_signal(signal.SIGKILL)
                    ended.append(process)
            except (psutil.Error, ProcessLookupError, PermissionError) as error:
                log.debug("process %d is gone or another user's: %s", process.pid, error)
        psutil.wait_procs(ended, timeout=5)
        self.path.unlink(missing_ok=True)
        return [process.pid for process in ended]
