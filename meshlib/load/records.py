"""One record a request: 60 bytes, written to a file as they come, so that ten million fit anywhere."""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from meshlib.load import kinds

if TYPE_CHECKING:
    import pandas as pd

DTYPE = np.dtype(
    [
        ("intended_ns", "<i8"),  # since the start of the run
        ("started_ns", "<i8"),
        ("dns_us", "<u4"),  # libcurl's marks, each counted from the request's start
        ("connect_us", "<u4"),
        ("tls_us", "<u4"),
        ("first_byte_us", "<u4"),
        ("total_us", "<u4"),
        ("bytes", "<i8"),
        ("trace", "<u8"),  # lower half of the trace id; 0: the request carried none
        ("status", "<u2"),
        ("item", "<u2"),  # place in the plan's mix
        ("http", "u1"),  # libcurl's number: 2 is HTTP/1.1, 3 is HTTP/2
        ("error", "u1"),  # place in kinds.ALL
        ("flags", "u1"),
        ("worker", "u1"),
    ]
)
PACK = struct.Struct("<qqIIIIIqQHHBBBB")
NEW_CONNECTION, SAMPLED = 1, 2
HTTP_NAMES = {0: "", 1: "1.0", 2: "1.1", 3: "2"}
_SORTED_AT_ONCE = 2**18

Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class Part:
    """The records of one worker, and the upper half of its trace ids."""

    records: Records
    trace_prefix: str


def mapped(file: IO[bytes]) -> Records:
    """The records of a file, mapped into memory: they stay when its name is gone."""
    if file.seek(0, 2) < DTYPE.itemsize:
        return np.empty(0, dtype=DTYPE)
    return np.memmap(file, dtype=DTYPE, mode="r")


def read(parts: list[Part]) -> Records:
    """All records, in order of the intended send time; in a file, however many workers there were."""
    arrays = [part.records for part in parts if len(part.records)]
    if not arrays:
        return np.empty(0, dtype=DTYPE)
    if len(arrays) == 1:
        return arrays[0]
    order = np.argsort(np.concatenate([each["intended_ns"] for each in arrays]), kind="stable")
    with tempfile.TemporaryFile(prefix="meshlib-load-") as file:
        whole = np.memmap(file, dtype=DTYPE, mode="w+", shape=order.shape)
    for at in range(0, len(order), _SORTED_AT_ONCE):
        places = order[at : at + _SORTED_AT_ONCE]
        piece = whole[at : at + _SORTED_AT_ONCE]
        begin = 0
        for each in arrays:
            ours = (places >= begin) & (places < begin + len(each))
            piece[ours] = each[places[ours] - begin]
            begin += len(each)
    return whole


def latency_us(records: Records) -> npt.NDArray[np.float64]:
    """Time from the intended send to the last byte, in µs: waiting for a free connection counts."""
    found: npt.NDArray[np.float64] = (records["started_ns"] - records["intended_ns"]) / 1e3 + records[
        "total_us"
    ]
    return found


def usual_rate(records: Records, sending_s: float) -> float:
    """Requests/s sent in the median tenth of a run that sent for `sending_s`; 0 where nothing was sent."""
    if not len(records) or not sending_s:
        return 0.0
    counts, _ = np.histogram(records["started_ns"] / 1e9, bins=10, range=(0.0, sending_s))
    return float(np.median(counts)) * 10 / sending_s


def frame(records: Records, prefixes: list[str]) -> pd.DataFrame:
    """One row a request; times in ms, `intended_s` since the run's start, `trace_id` 32 hex digits or ''."""
    import pandas as pd  # not above: a worker process starts three times as fast without it

    lows = records["trace"].tolist()
    workers = records["worker"].tolist()
    return pd.DataFrame(
        {
            "intended_s": records["intended_ns"] / 1e9,
            "started_s": records["started_ns"] / 1e9,
            "latency_ms": latency_us(records) / 1e3,
            "dns_ms": records["dns_us"] / 1e3,
            "connect_ms": records["connect_us"] / 1e3,
            "tls_ms": records["tls_us"] / 1e3,
            "first_byte_ms": records["first_byte_us"] / 1e3,
            "total_ms": records["total_us"] / 1e3,
            "status": records["status"].astype("int64"),
            "bytes": records["bytes"].astype("int64"),
            "http": pd.Categorical([HTTP_NAMES.get(each, "") for each in records["http"].tolist()]),
            "error": pd.Categorical.from_codes(
                records["error"].astype("int16"), categories=pd.Index(kinds.ALL)
            ),
            "new_connection": (records["flags"] & NEW_CONNECTION) > 0,
            "sampled": (records["flags"] & SAMPLED) > 0,
            "item": records["item"].astype("int64"),
            "worker": records["worker"].astype("int64"),
            "trace_id": [
                f"{prefixes[w]}{low:016x}" if low else "" for w, low in zip(workers, lows, strict=True)
            ],
        }
    )
