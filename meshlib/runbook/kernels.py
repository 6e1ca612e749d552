"""Kernels that start and import ahead of their notebook, over IPC sockets in a private folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

import meshlib
from meshlib.errors import MeshlibError

SHUTDOWN_S = 5.0


class KernelMissing(MeshlibError):
    """No kernel for a notebook, or one that does not start."""

    exit_code = 3


class Kernel:
    """One kernel process.  `manager` is what nbclient talks through; `pid` is also its process group."""

    def __init__(self, name: str, env: Mapping[str, str], cwd: Path) -> None:
        """Starts it and returns at once; the process imports on its own.  Raises `KernelMissing`."""
        self._folder = tempfile.TemporaryDirectory(
            prefix="mesh-"
        )  # short: a socket's path has 107 characters
        folder = Path(self._folder.name)
        self.output = folder / "output"
        self.manager = AsyncKernelManager(
            kernel_name=name,
            transport="ipc",
            ip=str(folder / "k"),
            connection_file=str(folder / "connection.json"),
        )
        here = str(Path(meshlib.__file__).parent.parent)
        path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
        try:
            spec = self.manager.kernel_spec
            if spec is not None and self.manager.ipykernel:  # ours, in this very environment
                spec.argv = [
                    sys.executable,
                    "-m",
                    "meshlib.runbook.kernel",
                    "-f",
                    "{connection_file}",
                ]
            with self.output.open("wb") as file:
                asyncio.run(self._start(file, cwd, {**os.environ, **env, "PYTHONPATH": path}))
        except (NoSuchKernel, OSError) as error:
            self._folder.cleanup()
            raise KernelMissing(
                f"kernel {name!r} does not start: {error}", fix="jupyter kernelspec list"
            ) from error
        self.pid = int(getattr(self.manager.provisioner, "pid", 0) or 0)

    async def _start(self, output: BinaryIO, cwd: Path, env: dict[str, str]) -> None:
        await self.manager.start_kernel(
            cwd=str(cwd),
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            extra_arguments=["--HistoryManager.hist_file=:memory:"],
        )

    def interrupt(self) -> None:
        """SIGINT to the kernel: the running cell gets a KeyboardInterrupt and may clean up."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the kernel and to all that its cells started in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def exit_status(self) -> int | None:
        """What the process ended with (negative: the signal), None while it lives."""
        process = getattr(self.manager.provisioner, "process", None)
        status = process.poll() if process is not None else None
        return int(status) if status is not None else None

    def close(self) -> str:
        """Ends the kernel, asking first, and returns what its process printed past the notebook."""
        if self.exit_status() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(self.pid).wait(SHUTDOWN_S)
        self.kill()
        self.exit_status()
        text = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        self.manager.cleanup_connection_file()
        self.manager.cleanup_ipc_files()
        self._folder.cleanup()
        return text
