"""How many inotify instances the user has left: each file that an Envoy watches takes one, and Envoy aborts
without.

Linux gives a user `fs.inotify.max_user_instances` of them (often 128), shared with editors and desktops.
Other systems watch files without such a limit.
"""

from __future__ import annotations

import os
from pathlib import Path

from meshlib.errors import LabError

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
NEEDED = 48  # a lab with two gateways, three apps of two replicas, and the listeners that still drain
_LINK = "anon_inode:inotify"


def free_instances(proc: Path = Path("/proc"), limit: Path = LIMIT) -> int | None:
    """Instances that this user may still open; None where there is no such limit."""
    try:
        allowed = int(limit.read_text())
    except (OSError, ValueError):
        return None
    return allowed - sum(_held(each) for each in proc.iterdir() if each.name.isdigit())


def require(needed: int = NEEDED) -> None:
    """Raises `LabError` when too few are left for a lab's Envoys."""
    free = free_instances()
    if free is not None and free < needed:
        raise LabError(
            f"the user has {max(free, 0)} inotify instances left, and a lab's Envoys take up to {needed}"
            " (Envoy aborts when it can watch no file)",
            fix="meshlib lab down in other labs, or: sudo sysctl fs.inotify.max_user_instances=512",
        )


def _held(process: Path) -> int:
    """Instances that a process of this user holds; 0 for somebody else's process, or one that has ended."""
    try:
        if process.stat().st_uid != os.getuid():
            return 0
        return sum(_is_inotify(each) for each in (process / "fd").iterdir())
    except OSError:
        return 0


def _is_inotify(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()) == _LINK
    except OSError:
        return False
