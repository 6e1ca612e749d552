"""Jaeger's JSON → a DataFrame: ours, `pandas.json_normalize`, and plain loops over dictionaries.

Each runs in a process of its own, which prints its spans per CPU-second and its peak memory. Imports count
as memory too, so the bound on it only means something for payloads well above 100 MB.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks import spans
from benchmarks.table import Row
from meshlib.traces import frames, wire


def ours(body: bytes) -> int:
    columns = wire.Columns()
    columns.add_legacy(body)
    return len(frames.spans(columns))


def json_normalize(body: bytes) -> int:
    return len(pd.json_normalize(json.loads(body)["data"], record_path="spans", meta=["processes"]))


def dict_loops(body: bytes) -> int:
    rows = []
    for trace in json.loads(body)["data"]:
        services = {name: process["serviceName"] for name, process in trace["processes"].items()}
        for span in trace["spans"]:
            row = {tag["key"]: tag["value"] for tag in span["tags"]}
            row |= {
                "trace_id": trace["traceID"],
                "span_id": span["spanID"],
                "operation": span["operationName"],
            }
            row |= {
                "start": span["startTime"],
                "ms": span["duration"] / 1e3,
                "service": services[span["processID"]],
            }
            rows.append(row)
    return len(pd.DataFrame(rows))


WAYS = {"ours": ours, "json_normalize": json_normalize, "dict loops": dict_loops}


def compare(count: int) -> list[Row]:
    """Rows of spans per CPU-second, and of memory against the payload."""
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as folder:
        file = Path(folder, "spans.json")
        # a child inherits its parent's peak of memory, so the spans are not made here
        subprocess.run(
            [sys.executable, "-m", "benchmarks.decoding", "make", str(file), str(count)], check=True
        )
        payload_mb = file.stat().st_size / 1e6
        found = {}
        for way in WAYS:
            run = [sys.executable, "-m", "benchmarks.decoding", way, str(file)]
            found[way] = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    what = f"{count:,} spans, {payload_mb:.0f} MB"
    rate = found["ours"]["rate"]
    return [
        Row("Decoding", what, "spans/CPU-s", rate, "json_normalize", found["json_normalize"]["rate"], "≥ 10"),
        Row("Decoding", what, "spans/CPU-s", rate, "dict loops", found["dict loops"]["rate"]),
        Row("Decoding", "peak resident memory", "MB", found["ours"]["mb"], "the payload", payload_mb, "≤ 4"),
    ]


def main() -> None:
    if sys.argv[1] == "make":
        text = json.dumps(spans.jaeger(int(sys.argv[3])), separators=(",", ":"))
        Path(sys.argv[2]).write_text(text)
        return
    body = Path(sys.argv[2]).read_bytes()
    before = time.process_time()
    count = WAYS[sys.argv[1]](body)
    used_s = time.process_time() - before
    scale = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts in bytes, Linux in KiB
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(json.dumps({"rate": count / used_s, "mb": peak_mb}))


if __name__ == "__main__":
    main()
