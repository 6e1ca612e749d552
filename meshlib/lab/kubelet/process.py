"""One operating-system process that stands for a container, and how it is tied to the control plane.

On Linux the kernel ends it with the control plane (PR_SET_PDEATHSIG).  Elsewhere, and for what it started
itself, the recorded (pid, start time) lets the next control plane end it: `records.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshlib.lab.kubelet.logs import LogFile, LogPipe

PR_SET_PDEATHSIG = 1
DRAIN_S = 1.0  # how long output may still come after the process has ended, when a grandchild holds the pipe


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs between fork and exec; the library is loaded before, as a forked child must not."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(125)

    return tie


@dataclass(frozen=True)
class Exit:
    """How a process ended: `code` as a container runtime shows it (128 + signal), times in seconds of the
    epoch.
    """

    code: int
    signal: int
    started_s: float
    finished_s: float


class Process:
    """A running container: its own session and process group, output into a log file."""

    def __init__(self, child: asyncio.subprocess.Process, pipe: LogPipe) -> None:
        self._child = child
        self._pipe = pipe
        self.pid = child.pid
        self.started_s = time.time()

    @classmethod
    async def start(
        cls, argv: Sequence[str], env: Mapping[str, str], folder: Path, log_path: Path
    ) -> Process:
        """Start `argv` in `folder`; raises `OSError` as exec does."""
        reading, writing = os.pipe()
        try:
            child = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        pipe = LogPipe(LogFile(log_path))
        await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, os.fdopen(reading, "rb", 0))
        return cls(child, pipe)

    async def wait(self) -> Exit:
        """Until the process has ended and its output is in the log; what it left in its group is ended
        too.
        """
        code = await self._child.wait()
        finished_s = time.time()
        self._signal_group(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pipe.closed.wait(), DRAIN_S)
        number = -code if code < 0 else 0
        return Exit(128 + number if number else code, number, self.started_s, finished_s)

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
