"""The process that kernels are forked from, started first: it imports while the runner still imports."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext


def context() -> ForkServerContext:
    """Where kernels come from; the process starts with the first kernel and ends with this one."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["meshlib.runbook.preload"])
    return made


def start() -> None:
    """Starts it now; does nothing where it runs."""
    context()
    forkserver.ensure_running()
