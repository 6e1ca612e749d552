"""The process that outlives a notebook: it deletes a trial's objects when the notebook is killed.

It reads one line (JSON: the trial's name and parameters) and waits.  A second line says that all was deleted;
the end of its input without one says that the notebook's process is gone, however it went.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

DONE = b"done\n"


def start(name: str, parameters: Mapping[str, object]) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that a signal to the notebook's group does not reach it."""
    argv = [sys.executable, "-m", __name__]
    watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    assert watcher.stdin is not None
    watcher.stdin.write(json.dumps({"name": name, "parameters": dict(parameters)}).encode() + b"\n")
    watcher.stdin.flush()
    return watcher


def stop(watcher: subprocess.Popen[bytes]) -> None:
    """Tell it that nothing is left to do."""
    watcher.communicate(DONE, timeout=10)


def main() -> None:
    """Wait for the end of the input, then delete what is left."""
    first, second = sys.stdin.buffer.readline(), sys.stdin.buffer.readline()
    if second == DONE:
        return
    from meshlib import parameters
    from meshlib.istio import trial
    from meshlib.kube import guard

    told = json.loads(first)
    cfg = parameters.validate(told["parameters"])
    trial.Trial(guard.connect(cfg), cfg, told["name"]).end()


if __name__ == "__main__":
    main()
