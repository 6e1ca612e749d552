"""Imported once, by the process that kernels are forked from: what notebooks need is then there already.

A kernel that is forked is ready in a tenth of the time of one that imports pandas and matplotlib for itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys

os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # read on import

# The first two rows are what each kernel would import for itself while it starts.
MODULES = (
    *(
        "ipykernel.kernelapp",
        "ipykernel.debugger",
        "IPython.core.completerlib",
        "IPython.extensions.storemagic",
    ),
    *("pandas", "matplotlib.pyplot", "kubernetes.client", "meshlib.parameters"),
)

if sys.platform.startswith("linux"):  # elsewhere libraries with threads of their own do not survive a fork
    gc.disable()  # each kernel turns it on again; what is imported here is never garbage
    sys.modules["debugpy"] = None  # type: ignore[assignment]  # nobody sets a breakpoint in a run
    for _name in MODULES:
        with contextlib.suppress(ImportError):  # the notebook that needs it says so itself
            importlib.import_module(_name)
    del sys.modules["debugpy"]
    gc.freeze()
