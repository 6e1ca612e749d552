"""What the API server needs of the machine that pods run on; the kubelet provides it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from .store import Obj


class Node(Protocol):
    """Reaches into pods.  Raises StatusError for a pod or container that cannot be reached."""

    def log_file(self, pod: Obj, container: str, previous: bool) -> Path: ...

    def reach(self, pod: Obj, port: int) -> tuple[str, int]:
        """The true socket address of a pod's port."""
        ...

    async def execute(self, pod: Obj, container: str, argv: list[str]) -> asyncio.subprocess.Process:
        """Start a command in a container, with pipes for stdin, stdout and stderr."""
        ...
