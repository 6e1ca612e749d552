"""What a notebook asked of the API server, for the record of the run: each kind of request once.

With `MESHLIB_RUN_DIR` and `MESHLIB_STEP` set, `$MESHLIB_RUN_DIR/requests/<step>.jsonl` gets one line for each
new (verb, resource, namespace); names are left out, answers too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from meshlib.kube.requests import Call

_seen: set[tuple[str, str, str, str]] = set()


def note(call: Call) -> None:
    """Write a request down, unless one of its kind was already; without a run nothing is written."""
    run_dir, step = os.environ.get("MESHLIB_RUN_DIR"), os.environ.get("MESHLIB_STEP")
    if not run_dir or not step or not call.resource:
        return
    key = (step, call.verb, call.resource, call.namespace)
    if key in _seen:
        return
    _seen.add(key)
    folder = Path(run_dir) / "requests"
    folder.mkdir(parents=True, exist_ok=True)
    line = {"verb": call.verb, "resource": call.resource, "namespace": call.namespace, "writes": call.writes}
    with (folder / f"{step}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(folder: Path) -> list[tuple[str, Call]]:
    """(step, call) for each line that the notebooks of a run wrote below `folder`."""
    return [
        (path.stem, Call(entry["verb"], entry["resource"], entry["namespace"]))
        for path in sorted((folder / "requests").glob("*.jsonl"))
        for entry in map(json.loads, path.read_text().splitlines())
    ]
