"""Kernels that are ready before their notebook: forked from one process that has imported everything.

They talk over IPC sockets in a private folder, and outlive neither the runner nor their notebook.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from meshlib.errors import MeshlibError
from meshlib.runbook import nursery

SHUTDOWN_S = 3.0


class KernelMissing(MeshlibError):
    """No kernel for a notebook, or one that does not start."""

    exit_code = 3


def serve(connection_file: str, output: str, cwd: str, env: dict[str, str]) -> None:
    """The body of a kernel process, right after the fork."""
    gc.enable()
    os.setsid()
    printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(printed, number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # not to draw what every other kernel draws
    from ipykernel.kernelapp import IPKernelApp

    options = ["-f", connection_file, "--HistoryManager.hist_file=:memory:"]
    options.append(f"--IPKernelApp.parent_handle={os.getppid()}")  # it ends when the fork server does
    sys.argv = ["meshlib-kernel", *options]
    IPKernelApp.launch_instance(options)


class _Forked(KernelProvisionerBase):
    """What jupyter_client asks about the process of a kernel."""

    process: ForkServerProcess

    @property
    def has_process(self) -> bool:
        return True

    async def poll(self) -> int | None:
        return self.process.exitcode

    async def wait(self) -> int | None:
        while self.process.exitcode is None:
            await asyncio.sleep(0.05)
        return self.process.exitcode

    async def send_signal(self, signum: int) -> None:
        if self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signum)

    async def kill(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        self.process.start()
        return self.connection_info

    async def cleanup(self, restart: bool = False) -> None:
        self.process.close()


class _Client(AsyncKernelClient):
    """jupyter_client's, without the 0.2 s for which that goes on listening after a kernel has answered."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Until the kernel has answered and was heard on IOPub.  Raises `RuntimeError` where it does not."""
        end = time.monotonic() + (timeout or math.inf)
        while True:
            self.kernel_info()
            with suppress(Empty):
                reply = await self.get_shell_msg(timeout=1)
                await self.get_iopub_msg(timeout=1)
                self._handle_kernel_info_reply(reply)
                return
            if not await self._async_is_alive() or time.monotonic() > end:
                raise RuntimeError("the kernel did not answer")


class Kernel:
    """One kernel process.  `manager` is what nbclient talks through; `pid` is also its process group.

    `folder` holds its sockets and their key, until `close`.
    """

    def __init__(self, name: str, env: Mapping[str, str], cwd: Path) -> None:
        """Starts it and returns at once.  Raises `KernelMissing`."""
        require(name)
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-")  # a socket's path is short
        self.folder = folder = Path(self._folder.name)
        self.output = folder / "output"
        connection = str(folder / "connection.json")
        self.manager = AsyncKernelManager(transport="ipc", ip=str(folder / "k"), connection_file=connection)
        self.manager.client_factory = _Client
        self.manager.write_connection_file()
        provisioner = _Forked(parent=self.manager)
        arguments = (connection, str(self.output), str(cwd), {**os.environ, **env})
        self._process = provisioner.process = nursery.context().Process(target=serve, args=arguments)
        self.manager.provisioner = provisioner
        try:
            asyncio.run(provisioner.launch_kernel([]))
        except OSError as error:
            self._folder.cleanup()
            raise KernelMissing(f"kernel {name!r} does not start: {error}") from error
        self.pid = int(self._process.pid or 0)

    def interrupt(self) -> None:
        """SIGINT to the kernel: the running cell gets a KeyboardInterrupt and may clean up."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the kernel and to all that its cells started in its group."""
        self._signal(signal.SIGKILL, group=True)

    def _signal(self, number: int, group: bool = False) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def exit_status(self) -> int | None:
        """What the process ended with (negative: the signal), None while it lives."""
        return self._process.exitcode

    def close(self) -> str:
        """Ends the kernel, asking first, and returns what its process printed past the notebook."""
        if self.exit_status() is None:
            self._signal(signal.SIGTERM)
            self._process.join(SHUTDOWN_S)
        self.kill()
        self._process.join()
        text = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        self.manager.cleanup_connection_file()
        self.manager.cleanup_ipc_files()
        self._process.close()
        self._folder.cleanup()
        return text


def require(name: str) -> None:
    """Raises `KernelMissing` unless there is a kernel called `name` and it runs Python, as ours do."""
    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel as error:
        raise KernelMissing(f"there is no kernel {name!r}", fix="jupyter kernelspec list") from error
    if spec.language.lower() != "python":
        raise KernelMissing(f"kernel {name!r} runs {spec.language}; this runner runs Python notebooks")
