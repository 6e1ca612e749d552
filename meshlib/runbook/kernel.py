"""The process of a kernel: imports what notebooks need while it waits, then is an ordinary IPython kernel."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys

HEAVY = ("pandas", "matplotlib.figure", "kubernetes.client", "meshlib.parameters")


def main() -> None:
    """Runs `python -m meshlib.runbook.kernel -f <connection file>`."""
    os.environ.setdefault(
        "MPLBACKEND", "module://matplotlib_inline.backend_inline"
    )  # read when it is imported
    if sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109 - compared as the text that `-m` put there
        del sys.path[0]
    for name in HEAVY:
        with contextlib.suppress(ImportError):  # the notebook that needs it says so itself
            importlib.import_module(name)
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


if __name__ == "__main__":
    main()
