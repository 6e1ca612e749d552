"""What is wrong with an ingress, why, and the command that fixes it, from API objects and proxy state.

    diagnose.report(cluster)

The rules (`rules.RULES`) are pure functions over one snapshot, which `collect` reads.  Two things show
neither in the API nor in a proxy and are not found: an application that listens on 127.0.0.1 only, and a
client that sends another name in SNI than it means.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from meshlib.istio.diagnose.collect import collect
from meshlib.istio.diagnose.model import MODES, Finding, Snapshot
from meshlib.istio.diagnose.rules import findings
from meshlib.kube.client import Cluster

COLUMNS = ["Mode", "Level", "Finding", "Evidence", "Cause", "Fix", "Code"]


def report(cluster: Cluster, root: str = "istio-system", url: str = "") -> pd.DataFrame:
    """One row a finding, the likeliest cause first; empty when nothing is wrong.

    `url` asks about one request too.  Raises `ClusterError` when the API server does not answer.
    """
    return table(findings(collect(cluster, root, url)))


def table(found: Sequence[Finding]) -> pd.DataFrame:
    """Findings as a table: Mode (of `MODES`), Level, Finding, Evidence, Cause, Fix, Code."""
    rows = [
        (MODES[each.mode], each.level, each.finding, each.evidence, each.cause, each.fix, each.code)
        for each in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def news(found: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The rows of one report whose finding an earlier report did not have, in their order."""
    return found[~found["Finding"].isin(before["Finding"])].reset_index(drop=True)


__all__ = ["COLUMNS", "MODES", "Finding", "Snapshot", "collect", "findings", "news", "report", "table"]
