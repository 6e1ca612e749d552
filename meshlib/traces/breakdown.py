"""Where the time of a request goes: self times, the critical path, and the hops as the client saw them.

Pure. Frames are those of `frames.spans`; requests those of `load.LoadResult.requests`, joined by trace id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

CLIENT, NETWORK, GATEWAY, SIDECAR, APP = "client", "network", "gateway", "sidecar", "app"
SIDECAR_AND_APP = "sidecar+app"  # a sidecar below which the app sent no span: the two cannot be told apart
HOPS = (CLIENT, NETWORK, GATEWAY, SIDECAR, APP, SIDECAR_AND_APP)
# the first word of an Istio proxy's node id says what it is
NODES = {"router": GATEWAY, "sidecar": SIDECAR}
Numbers = npt.NDArray[np.int64]


def _parents(frame: pd.DataFrame) -> Numbers:
    """For each span the row of its parent in the same trace, or -1."""
    numbered = pd.DataFrame(
        {"trace_id": frame["trace_id"], "parent_id": frame["span_id"], "row": np.arange(len(frame))}
    ).drop_duplicates(["trace_id", "parent_id"])
    joined = frame[["trace_id", "parent_id"]].merge(numbered, on=["trace_id", "parent_id"], how="left")
    return joined["row"].fillna(-1).to_numpy(dtype="int64")


def _times(frame: pd.DataFrame) -> tuple[Numbers, Numbers]:
    start = frame["start_us"].to_numpy(dtype="int64")
    return start, start + np.rint(frame["duration_ms"].to_numpy() * 1e3).astype("int64")


def self_times(frame: pd.DataFrame) -> pd.DataFrame:
    """The spans with `self_ms`: the time of each in which none of its children was running, and with `hop`.

    Children are cut to their parent's interval, so that clocks that differ cannot make a self time negative.
    """
    frame = frame.reset_index(drop=True)
    parents = _parents(frame)
    start, end = _times(frame)
    covered = np.zeros(len(frame), dtype="int64")
    reached = start.copy()  # how far each parent's interval is covered by the children seen so far
    for row in np.argsort(start, kind="stable").tolist():
        parent = parents[row]
        if parent < 0 or parent == row:
            continue
        begin, until = max(start[row], reached[parent]), min(end[row], end[parent])
        if until > begin:
            covered[parent] += until - begin
            reached[parent] = until
    return frame.assign(self_ms=(end - start - covered) / 1e3, hop=_hops(frame, parents))


def _hops(frame: pd.DataFrame, parents: Numbers) -> pd.Categorical[Any]:
    """Whose time a span's self time is: by the proxy's node id, else the app's."""
    nodes, kinds, upstreams = (
        frame[name].astype("object").fillna("").tolist() for name in ("node_id", "kind", "upstream")
    )
    # a gateway's span of its own call upstream carries no node id, and there is no app behind that name
    services = frame["service"].astype("str").tolist()
    node_of = {
        service: node
        for service, node in zip(services, nodes, strict=True)
        if str(node).startswith("router~")
    }
    found = [
        NODES.get(str(node or node_of.get(service, "")).split("~", 1)[0], APP)
        for service, node in zip(services, nodes, strict=True)
    ]
    called = {int(parent) for parent in parents if parent >= 0}
    for row, (hop, kind, upstream) in enumerate(zip(found, kinds, upstreams, strict=True)):
        if hop != SIDECAR:
            continue
        if kind == "client" and str(upstream).startswith("inbound|"):
            found[row] = APP  # the sidecar's call of its own app: what is in it is the app's
        elif kind != "client" and row not in called:
            found[row] = SIDECAR_AND_APP
    return pd.Categorical(found, categories=list(HOPS))


def critical_path(trace: pd.DataFrame) -> pd.DataFrame:
    """The spans that determined when a trace ended, in order of time: service, operation, from_ms, to_ms, ms.

    Walks back from the end of the root: the last child to end before that moment was the one waited for.
    """
    trace = trace.reset_index(drop=True)
    parents = _parents(trace)
    start, end = _times(trace)
    roots = np.flatnonzero(parents < 0)
    if not len(roots):
        return pd.DataFrame(columns=["service", "operation", "from_ms", "to_ms", "ms"])
    root = int(roots[np.argmin(start[roots])])
    pieces: list[tuple[int, int, int]] = []

    def walk(row: int, until: int) -> None:
        at = until
        children = [c for c in np.flatnonzero(parents == row).tolist() if c != row]
        for child in sorted(children, key=lambda c: -int(end[c])):
            stop = min(int(end[child]), at)
            if int(start[child]) >= at or stop <= int(start[row]):
                continue
            if stop < at:
                pieces.append((row, stop, at))
            walk(child, stop)
            at = max(int(start[child]), int(start[row]))
        if at > int(start[row]):
            pieces.append((row, int(start[row]), at))

    walk(root, int(end[root]))
    rows = [piece[0] for piece in reversed(pieces)]
    begin = int(start[root])
    found = trace.loc[rows, ["service", "operation"]].reset_index(drop=True)
    found["from_ms"] = [(piece[1] - begin) / 1e3 for piece in reversed(pieces)]
    found["to_ms"] = [(piece[2] - begin) / 1e3 for piece in reversed(pieces)]
    return found.assign(ms=found["to_ms"] - found["from_ms"])


def hops(requests: pd.DataFrame, spans: pd.DataFrame) -> pd.DataFrame:
    """One row a request whose trace was found: trace_id, latency_ms and the ms of each hop; they add up.

    client: waiting for a free connection and opening it; network: what the client waited for beyond the
    trace's root span; gateway, sidecar, app: self times. A trace without a span of some hop has 0 there.
    """
    timed = self_times(spans)
    by_hop = timed.pivot_table(
        index="trace_id", columns="hop", values="self_ms", aggfunc="sum", fill_value=0.0, observed=True
    )
    good = requests[(requests["trace_id"] != "") & (requests["error"].astype("str") == "")]
    joined = good.set_index("trace_id")[["latency_ms", "total_ms", "connect_ms", "tls_ms"]].join(
        by_hop, how="inner"
    )
    opening = joined[["connect_ms", "tls_ms"]].max(axis=1)
    inside = joined[[hop for hop in HOPS if hop in by_hop.columns]].sum(axis=1)
    waited = joined["latency_ms"] - joined["total_ms"] + opening
    found = pd.DataFrame({"latency_ms": joined["latency_ms"], CLIENT: waited})
    found[NETWORK] = joined["latency_ms"] - waited - inside
    for hop in HOPS[2:]:
        if hop in by_hop.columns:
            found[hop] = joined[hop]
    return found.reset_index()


def by_percentile(hop_frame: pd.DataFrame, percents: Sequence[float] = (50, 90, 99, 99.9)) -> pd.DataFrame:
    """Where requests near each percentile of latency spent it: the mean of 1 % of them around its rank.

    One row a percentile: percentile, requests, latency_ms, and the hops in ms, which add up to it.
    """
    ordered = hop_frame.sort_values("latency_ms", ignore_index=True)
    half = len(ordered) // 200
    rows: list[dict[Any, Any]] = []
    for percent in percents if len(ordered) else ():
        rank = min(len(ordered) - 1, max(0, int(np.ceil(len(ordered) * percent / 100)) - 1))
        near = ordered.iloc[max(0, rank - half) : rank + half + 1]
        rows.append(
            {"percentile": percent, "requests": len(near)} | near.drop(columns="trace_id").mean().to_dict()
        )
    return pd.DataFrame(rows)
