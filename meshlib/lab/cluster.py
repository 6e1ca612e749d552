"""The life of a lab as its user sees it: start, stop, status, reset. Nothing heavy is imported here.

The control plane is a process of its own (`controlplane`), in a session of its own, so that it outlives
the shell.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import meshlib
from meshlib import wait
from meshlib.errors import LabError
from meshlib.lab import inotify, state
from meshlib.lab.kubelet.images import load_images
from meshlib.lab.kubelet.records import Records
from meshlib.lab.network import loopback_environment

KUBERNETES_VERSION = "v1.36.2"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LOG = Path("logs") / "control-plane.log"
LAST_LINES = 15
FORGOTTEN = ("pods", "xds", "lessons")


@dataclass
class Cluster:
    """A lab that is up."""

    home: Path
    state: state.ClusterState
    fresh: bool  # whether `start` started it, rather than found it

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def server(self) -> str:
        return self.state.server

    def stop(self) -> None:
        """End the control plane and its pods' processes; the objects stay."""
        stop(self.home)


def start(
    home: Path,
    *,
    images: Path | None = None,
    kubernetes_version: str = KUBERNETES_VERSION,
    port: int | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> Cluster:
    """Bring the lab of `home` up and wait until it is ready; a lab that is up already is returned as it is.

    `images` maps further images to programs; None keeps what the lab had.  `port` is the API server's (0:
    any free one; None: the last one).  Raises `LabError` that says why it cannot start.
    """
    home = home.expanduser().resolve()
    state.make_home(home)
    before = state.read(home)
    if before is not None and before.running:
        if images is not None and str(images.resolve()) != before.images:
            raise LabError(
                f"the lab of {home} is up with other images ({before.images or 'only the built-in ones'})",
                fix=f"meshlib lab down && meshlib lab up --images {images}",
            )
        return Cluster(home, before, fresh=False)
    if images is None and before is not None and before.images:
        images = Path(before.images)
    if images is not None:
        images = images.resolve()
        load_images(images)  # a wrong file is said here, before anything starts
    inotify.require()
    process, report = _spawn(home, images, kubernetes_version, port)

    def ready() -> state.ClusterState:
        if report.done(process):
            found = state.read(home)
            if found is None:
                raise wait.NotYet("no cluster.json yet")
            why = probe_ready(home, found.server)
            if why is None:
                return found
            raise wait.NotYet(why)
        raise wait.NotYet("the control plane has not reported yet")

    try:
        found = wait.until(
            ready,
            "the control plane",
            timeout_s=timeout_s,
            interval_s=0.01,
            max_interval_s=0.1,
            fix=f"see {home / LOG}",
        )
    except BaseException:
        process.kill()
        raise
    return Cluster(home, found, fresh=True)


class _Child:
    """The control plane as the process that this one has just started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code = 0

    def ended(self) -> bool:
        """Whether it has ended; `code` is its exit code then."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if found:
            self.code = os.waitstatus_to_exitcode(status)
        return bool(found)

    def kill(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


class _Report:
    """The reading end of the pipe on which the control plane says that it is ready, or why not."""

    def __init__(self, descriptor: int, log_file: Path) -> None:
        os.set_blocking(descriptor, False)
        self._pipe = os.fdopen(descriptor, "rb", 0)
        self._log = log_file
        self._text = b""
        self._ready = False

    def done(self, process: _Child) -> bool:
        """Whether it is ready; raises `LabError` when it has ended instead."""
        if not self._ready:
            self._text += self._pipe.read() or b""
            message: dict[str, Any] = json.loads(self._text) if self._text.endswith(b"}") else {}
            if message.get("error"):
                raise LabError(
                    f"the lab cannot start: {message['error']}", fix=message["fix"] or f"see {self._log}"
                )
            self._ready = bool(message.get("ready"))
        if process.ended():
            last = "\n  ".join(self._log.read_text().splitlines()[-LAST_LINES:])
            code = process.code
            raise LabError(
                f"the control plane ended with exit code {code}; last lines of its log:\n  {last}",
                fix=f"see {self._log}",
            )
        return self._ready


def _spawn(
    home: Path, images: Path | None, kubernetes_version: str, port: int | None
) -> tuple[_Child, _Report]:
    argv = [sys.executable, "-m", state.MODULE, "--home", str(home)]
    argv += ["--kubernetes-version", kubernetes_version]
    argv += ["--images", str(images)] if images else []
    argv += ["--port", str(port)] if port is not None else []
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    root = str(Path(meshlib.__file__).parent.parent)
    env = loopback_environment(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [env.get("PYTHONPATH")])])
    env["MESHLIB_REPORT_FD"] = str(writing)
    log_file = home / LOG
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess: a Popen expects to be waited for, and the control plane outlives this process.
    pid = os.posix_spawn(
        sys.executable,
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file), appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    os.close(writing)
    return _Child(pid), _Report(reading, log_file)


def probe_ready(home: Path, server: str) -> str | None:
    """None when /readyz says ok, else what was seen."""
    context = ssl.create_default_context(cafile=str(home / "pki" / "ca.crt"))
    host, _, port = server.removeprefix("https://").rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(200).decode(errors="replace")
    except OSError as error:
        return f"GET {server}/readyz: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"GET {server}/readyz: {answer.status} {text}"


def stop(home: Path) -> bool:
    """End the lab of `home`; False when none ran. What a killed control plane left is ended too."""
    home = home.expanduser().resolve()
    try:
        found = state.read(home)
    except LabError:  # a broken file keeps nobody from stopping what runs
        found = None
    pid = found.pid if found is not None and found.running else state.holder(home)
    if pid is None:
        left = Records(home / "processes").end_stale() if home.exists() else []
        return bool(left)

    def gone() -> None:
        if (found is not None and found.running) or state.holder(home):
            raise wait.NotYet(f"process {pid} still runs")

    with suppress(ProcessLookupError):  # somebody else may be stopping it, too
        os.kill(pid, signal.SIGTERM)
    wait.until(gone, "the control plane to end", timeout_s=STOP_TIMEOUT_S, fix=f"kill -9 {pid}")
    return True


def reset(home: Path) -> None:
    """Stop the lab and remove its state; raises `LabError` for a folder that is no lab's home.

    The folder goes too, unless there are files in it that are not the lab's.
    """
    home = home.expanduser().resolve()
    if not home.exists():
        return
    if not state.is_home(home):
        raise LabError(
            f"{home} is not the home of a lab; nothing was removed", fix="check --home and MESHLIB_HOME"
        )
    stop(home)
    kept = state.foreign(home)
    for path in home.iterdir():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not kept:
        home.rmdir()


def forget(home: Path) -> None:
    """Stop the lab and remove every object, but keep its address and credentials: open clients stay valid."""
    home = home.expanduser().resolve()
    stop(home)
    for name in FORGOTTEN:
        shutil.rmtree(home / name, ignore_errors=True)
    for path in home.glob("state.db*"):
        path.unlink()


@dataclass(frozen=True)
class Status:
    """What `meshlib lab status` shows."""

    home: Path
    state: state.ClusterState | None
    ready: bool
    why: str  # what is wrong, "" when ready
    memory_bytes: int
    uptime_s: float


def status(home: Path) -> Status:
    """Whether the lab of `home` is up and answers."""
    home = home.expanduser().resolve()
    found = state.read(home)
    if found is None:
        return Status(home, None, False, "there is no lab here", 0, 0.0)
    if not found.running:
        why = "it was stopped" if not found.pid else f"its control plane (pid {found.pid}) is gone"
        return Status(home, found, False, why, 0, 0.0)
    import psutil

    why = probe_ready(home, found.server) or ""
    memory = psutil.Process(found.pid).memory_info().rss
    return Status(home, found, not why, why, memory, time.time() - found.started_s)


@contextmanager
def running(home: Path, *, images: Path | None = None) -> Iterator[Cluster]:
    """A lab for the length of a `with` block."""
    cluster = start(home, images=images)
    try:
        yield cluster
    finally:
        cluster.stop()
