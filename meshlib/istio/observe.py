"""What can be seen of a published service without a write, by whoever looks: some credentials see less.

Objects are read with get and list.  Two ways go deeper: port-forwards, to what istiod and the proxies say
about themselves, and the API server's proxy of the tracing backend.  A read-only credential often has
neither; then the table says so, and nothing is guessed.
"""

from __future__ import annotations

import pandas as pd

from meshlib.istio import jaeger, tracing
from meshlib.kube import guard
from meshlib.kube.client import Cluster
from meshlib.parameters import Config

PROXIES, TRACES = "istiod and the proxies", "traces"
WAYS = (
    (PROXIES, "get", "pods/portforward"),
    (PROXIES, "create", "pods/portforward"),
    (TRACES, "get", "services/proxy"),
)


def views(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    """One row a view that goes deeper than objects: View, Seen (`yes` or `no`), Reason."""
    asked = guard.may(cluster, [(verb, resource, cfg.istio_namespace) for _, verb, resource in WAYS])
    reasons = {PROXIES: "", TRACES: ""}
    for (view, verb, resource), allowed in zip(WAYS, asked["Allowed"], strict=True):
        if not allowed:
            reasons[view] = f"the credential may not {verb} {resource} in {cfg.istio_namespace}"
    if not reasons[TRACES]:
        reasons[TRACES] = _untraced(cluster, cfg)
    rows = [(view, "no" if reason else "yes", reason) for view, reason in reasons.items()]
    return pd.DataFrame(rows, columns=["View", "Seen", "Reason"])


def _untraced(cluster: Cluster, cfg: Config) -> str:
    if cluster.find("services", jaeger.QUERY_SERVICE, cfg.istio_namespace) is None:
        return f"there is no Service {cfg.istio_namespace}/{jaeger.QUERY_SERVICE}"
    return "" if tracing.is_on(cluster, cfg) else "no Telemetry resource chooses a tracing provider"
