"""One run at a time on one target.  The lock is the kernel's (flock), so it cannot outlive its holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import TextIO

from meshlib.errors import MeshlibError, PreflightError


class LockHeld(MeshlibError):
    """Another run works on the same target."""

    exit_code = 3


def path_for(target: str) -> Path:
    """The lock file for a target (a lab's home, or `context@kubeconfig`), in the user's own state folder."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "meshlib" / "locks" / f"{hashlib.sha256(target.encode()).hexdigest()[:16]}.lock"


def acquire(target: str, run_id: str) -> TextIO:
    """Takes the lock; it is held until the returned file is closed.

    Raises `LockHeld` naming the holder, `PreflightError` where there is no place for a lock.
    """
    try:
        path = path_for(target)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+", encoding="utf-8")
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without HOME and without a name
        raise PreflightError(
            f"no lock can be kept for {target}, so that two runs could collide: {error}",
            fix="name a folder that can be written: XDG_STATE_HOME=DIR meshlib run …",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "somebody"
        file.close()
        raise LockHeld(f"{target} is in use by {holder}", fix="wait for it, or stop it") from error
    file.truncate(0)
    file.write(f"run {run_id}, process {os.getpid()}\n")
    file.flush()
    return file
