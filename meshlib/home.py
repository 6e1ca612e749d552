"""Where the embedded lab keeps its state, so that a kubeconfig can be found without importing the lab."""

from __future__ import annotations

import os
from pathlib import Path

ENV = "MESHLIB_HOME"


def lab_home() -> Path:
    """The lab's state folder: $MESHLIB_HOME, else the nearest `.lab` upward, else `.lab` beside `notebooks/`.

    Nothing is created.  The folder holds `kubeconfig` (0600) while the lab is up.
    """
    if named := os.environ.get(ENV):
        return Path(named).expanduser().resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / ".lab").is_dir():
            return folder / ".lab"
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "meshlib").is_dir():
            return folder / ".lab"
    return here / ".lab"


def lessons() -> Path:
    """Where the lab keeps, one JSON file a step, how the step's last checkpoint ended on it."""
    return lab_home() / "lessons"


def lab_kubeconfig() -> Path:
    """The path of the embedded lab's kubeconfig; it exists only while or after the lab has been up."""
    return lab_home() / "kubeconfig"
