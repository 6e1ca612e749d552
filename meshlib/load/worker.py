"""A worker process.

`python -m meshlib.load.worker INDEX FILE`: one of several on this machine. FILE is the number of an open file
for the records. The plan comes as JSON on standard input; prints `at <finished> <ns>` as it goes and ends
with its outcome, one line of JSON with the histogram.

`python -m meshlib.load.worker FOLDER`: one pod of an indexed Job, its number in JOB_COMPLETION_INDEX. The
whole plan and its certificates are files of the folder (`meshlib.load.job` names them). It starts when the
pod's annotations say so, all pods at the same time, and ends early when they say that.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from meshlib.load import engine, job
from meshlib.load.plan import Plan, for_worker

POLL_S = 0.1
PATIENCE_S = 900.0  # a pod that is never told to start gives up


def main() -> None:
    if len(sys.argv) == 2:
        sys.exit(in_pod(Path(sys.argv[1]), int(os.environ[job.INDEX])))
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    def progress(done: int, at_ns: int) -> None:
        print("at", done, at_ns, flush=True)

    with os.fdopen(int(sys.argv[2]), "wb") as sink:
        outcome = engine.drive(plan, sink, worker=int(sys.argv[1]), progress=progress)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


def in_pod(folder: Path, index: int) -> int:
    """The share of one pod: wait for the common start, load, print the report. Requests are not kept."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the latter may have been ignored where this was started
        signal.signal(number, signal.default_int_handler)
    whole = msgspec.json.decode((folder / job.PLAN).read_bytes(), type=Plan)
    plan = for_worker(job.with_files_in(whole, folder), index)
    told = folder / job.ANNOTATIONS
    deadline = time.monotonic() + PATIENCE_S
    while (start_at := job.annotation(told.read_text(), job.START_AT)) is None:
        if time.monotonic() > deadline:
            print(f"nobody said within {PATIENCE_S:g} s when to start", file=sys.stderr)
            return 1
        time.sleep(POLL_S)
    late_s = time.time() - float(start_at)
    time.sleep(max(0.0, -late_s))
    threading.Thread(target=_stop_when_told, args=(told,), daemon=True).start()
    with Path(os.devnull).open("wb") as sink:
        outcome = engine.drive(plan, sink, worker=index)
    print(job.line(job.Report(index, max(0.0, late_s), outcome)), flush=True)
    return 0


def _stop_when_told(annotations: Path) -> None:
    while job.annotation(annotations.read_text(), job.STOP) is None:
        time.sleep(5 * POLL_S)
    signal.raise_signal(signal.SIGINT)  # the engine then counts what it has, as on Ctrl-C


if __name__ == "__main__":
    main()
