"""A worker process: `python -m meshlib.load.worker INDEX RECORDS`, the plan as JSON on standard input.

Prints `at <finished> <ns>` as it goes and ends with its outcome, one line of JSON with the histogram in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from meshlib.load import engine
from meshlib.load.plan import Plan


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)

    def progress(done: int, at_ns: int) -> None:
        print("at", done, at_ns, flush=True)

    with Path(sys.argv[2]).open("wb") as sink:
        outcome = engine.drive(plan, sink, worker=int(sys.argv[1]), progress=progress)
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main()
