"""What a lab's home says of its control plane: `cluster.json`, and whether the process it names runs."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import msgspec
import psutil

from meshlib.errors import LabError
from meshlib.lab.kubelet.records import is_same, start_time

FILE = "cluster.json"
LOCK = "control-plane.lock"
DATABASE = "state.db"
TRIAL = ".writable"
MODULE = "meshlib.lab.controlplane"
MARKS = (FILE, LOCK, DATABASE)  # a folder with one of these is a lab's home
# Everything that a lab writes into its home; what begins with a dot is one of these, being written.
OWN = (
    *(*MARKS, f"{DATABASE}-wal", f"{DATABASE}-shm", "kubeconfig", "kubeconfig.read-only", "pki", "logs"),
    *("pods", "processes", "xds", "lessons", "checkpoints", "jupyter"),
)


@dataclass(frozen=True)
class ClusterState:
    """`pid` and `started_s` name the control plane's process; both are 0 after it has ended in good order."""

    pid: int
    started_s: float
    server: str
    subnet: int  # the second octet of 127.A.0.0/16
    shared_address: bool
    version: str
    kubernetes_version: str
    images: str | None
    home: str = ""

    @property
    def running(self) -> bool:
        """Known by its start time or, when the system's clock was set since then, by its command line."""
        if not self.pid:
            return False
        return is_same(self.pid, self.started_s) or is_control_plane(self.pid, self.home)


def is_control_plane(pid: int, home: str) -> bool:
    """Whether a process is the control plane of `home`, an absolute path."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return MODULE in words and ("--home", home) in pairwise(words)


def foreign(home: Path) -> list[str]:
    """The names of what is in a folder and is no lab's."""
    names = sorted(path.name for path in home.iterdir())
    return [each for each in names if each not in OWN and not _being_written(each)]


def _being_written(name: str) -> bool:
    return name == TRIAL or (name.startswith(".") and name[1:].startswith(OWN))


def is_home(folder: Path) -> bool:
    """Whether a folder is, or may become, a lab's home: nothing in it, or nothing but a lab's."""
    return any((folder / name).exists() for name in MARKS) or not foreign(folder)


def read(home: Path) -> ClusterState | None:
    """The state that the home records; None for a home without a lab. Raises `LabError` for a broken file."""
    path = home / FILE
    try:
        return replace(msgspec.convert(json.loads(path.read_bytes()), ClusterState), home=str(home))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise LabError(
            f"{path} cannot be read: {error}",
            fix=f"meshlib lab down --home {home} && rm {path} && meshlib lab up --home {home} (objects stay)",
        ) from error


def ended(state: ClusterState) -> ClusterState:
    """The same, of a control plane that has ended in good order."""
    return replace(state, pid=0, started_s=0.0)


def write(home: Path, state: ClusterState) -> None:
    beside = home / f".{FILE}"
    known = {key: value for key, value in asdict(state).items() if key != "home"}
    beside.write_text(json.dumps(known, indent=1) + "\n")
    beside.rename(home / FILE)


def myself() -> tuple[int, float]:
    """The pid and start time of this process."""
    pid = os.getpid()
    started_s = start_time(pid)
    assert started_s is not None
    return pid, started_s


def holder(home: Path) -> int | None:
    """The pid of the control plane of `home` by its lock, whatever cluster.json says; None for none."""
    try:
        pid = int((home / LOCK).read_text())
    except (OSError, ValueError):
        return None
    return pid if is_control_plane(pid, str(home)) else None


def lock(home: Path) -> IO[str]:
    """Held by a control plane for its life; raises `LabError` when another one of this home holds it."""
    file = (home / LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        message = f"another control plane of {home} is starting or running"
        raise LabError(message, fix=f"meshlib lab status --home {home}") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def make_home(home: Path) -> None:
    """Create the home (0700) or check that it can be used; raises `LabError`.

    A folder with other things in it is refused: its mode would change, and a reset would be about it.
    """
    try:
        if home.is_dir() and not is_home(home):
            raise LabError(
                f"{home} has files in it that are no lab's, such as {foreign(home)[0]}; nothing was changed",
                fix="give a folder of its own: meshlib lab up --home DIR (or MESHLIB_HOME)",
            )
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        trial = home / TRIAL
        trial.write_bytes(b"\0" * 4096)
        trial.unlink()
    except OSError as error:
        raise LabError(
            f"the lab's home {home} cannot be written: {error.strerror}",
            fix="choose another folder: meshlib lab up --home DIR (or MESHLIB_HOME)",
        ) from error
