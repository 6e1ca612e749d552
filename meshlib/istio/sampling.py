"""Measure which share of requests is traced: send many with a mark of their own, count the traces that carry
it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.istio import mesh, tracing
from meshlib.istio.site import Site
from meshlib.kube.apply import is_ours
from meshlib.kube.client import Cluster
from meshlib.parameters import Config
from meshlib.traces import Jaeger

REQUESTS = 2000
CONNECTIONS = 4
TELEMETRIES, TELEMETRY = "telemetries.telemetry.istio.io", "mesh-default"
Z95 = 1.959964
US = 1_000_000


@dataclass(frozen=True)
class Share:
    """`traced` of `sent` requests, with the Wilson interval at 95 % (per cent)."""

    label: str
    sent: int
    traced: int

    @property
    def percent(self) -> float:
        """The measured share."""
        return 100 * self.traced / self.sent

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval, in per cent."""
        return wilson(self.traced, self.sent)


def wilson(hits: int, tries: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a share, in per cent; right near 0 and 100 too, where the usual ±
    fails."""
    share = hits / tries
    centre = (share + z * z / (2 * tries)) / (1 + z * z / tries)
    half = z / (1 + z * z / tries) * math.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries))
    low, high = 100 * (centre - half), 100 * (centre + half)
    return 0.0 if hits == 0 else max(0.0, low), 100.0 if hits == tries else min(100.0, high)


def band(percent: float, sent: int) -> tuple[float, float]:
    """Where a share of `percent` is found when `sent` requests are counted: four standard deviations and
    half a point."""
    deviation = 100 * math.sqrt(percent / 100 * (1 - percent / 100) / sent)
    return max(0.0, percent - 4 * deviation - 0.5), min(100.0, percent + 4 * deviation + 0.5)


def reset(cluster: Cluster, cfg: Config) -> str:
    """Take back the Telemetry resource and the mesh edit of an earlier run; says what was there."""
    deleted = cluster.find(TELEMETRIES, TELEMETRY, cfg.istio_namespace)
    if deleted is not None and is_ours(deleted):
        cluster.delete(TELEMETRIES, TELEMETRY, cfg.istio_namespace)
        tracing.until_configured(cluster, cfg, None)
    restored = mesh.restore(cluster, cfg.istio_namespace)
    found = [what for what, there in (("a Telemetry resource", deleted), ("an edit", restored)) if there]
    return f"taken back: {' and '.join(found)}" if found else "nothing was left"


def measure(site: Site, backend: Jaeger, label: str, *, settle_s: float, requests: int = REQUESTS) -> Share:
    """Send `requests` without trace headers, then count their traces once all must have arrived (`settle_s`).

    Raises `ClusterError` when a request fails: a share of failed requests says nothing.
    """
    mark = f"meshlib-{uuid.uuid4().hex[:12]}"
    start_us = time.time_ns() // 1000
    result = site.load(
        "/healthz", requests=requests, duration_s=None, connections=CONNECTIONS, headers={"user-agent": mark}
    )
    if result.numbers.statuses != {"200": requests}:
        raise ClusterError(f"of {requests} requests: {result.numbers.statuses} {result.numbers.errors}")
    end_s = time.time()

    def count() -> int:
        spans = backend.spans(site.gateway, start_us, time.time_ns() // 1000, tags={"user_agent": mark})
        traced = int(spans["trace_id"].nunique())
        if traced < requests and time.time() < end_s + settle_s:
            raise wait.NotYet(f"{traced} of {requests} traces")
        return traced

    traced = wait.until(count, "the traces", timeout_s=settle_s + 30, interval_s=0.3, max_interval_s=0.6)
    return Share(label, requests, traced)


def table(shares: Sequence[Share]) -> pd.DataFrame:
    """One row a measurement: Measurement, Sent, Traced, Share (%), From (%), To (%)."""
    rows = [
        (
            each.label,
            each.sent,
            each.traced,
            round(each.percent, 2),
            *(round(edge, 2) for edge in each.interval),
        )
        for each in shares
    ]
    return pd.DataFrame(rows, columns=["Measurement", "Sent", "Traced", "Share (%)", "From (%)", "To (%)"])
