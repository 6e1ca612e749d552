"""Every need of a run in one table, each with what was found and the command that repairs it; nothing is
written."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from meshlib.errors import ClusterError, PreflightError
from meshlib.istio import install, support
from meshlib.kube import guard
from meshlib.kube.apply import MANAGER, ours
from meshlib.kube.client import Cluster
from meshlib.parameters import Config

OK, WARN, FAIL = "ok", "warning", "FAIL"
COLUMNS = ["Need", "Verdict", "Found", "Repair"]

Row = tuple[str, str, str, str]


def rights(cfg: Config) -> list[tuple[str, str, str]]:
    """(verb, resource, namespace) that the notebooks use besides what installing Istio needs."""
    app, istio = cfg.namespace, cfg.istio_namespace
    needs = [(verb, "namespaces", "") for verb in ("get", "list", "patch", "delete")]
    needs += [("list", "nodes", "")]
    for resource in ("configmaps", "services", "serviceaccounts", "deployments.apps"):
        needs += [(verb, resource, app) for verb in ("get", "list", "patch", "delete")]
    for resource in ("gateways", "virtualservices", "destinationrules"):
        needs += [
            (verb, f"{resource}.networking.istio.io", app) for verb in ("get", "list", "patch", "delete")
        ]
    needs += [(verb, "telemetries.telemetry.istio.io", istio) for verb in ("get", "list", "patch", "delete")]
    needs += [(verb, "secrets", istio) for verb in ("get", "patch", "delete")]
    needs += [(verb, "configmaps", istio) for verb in ("get", "patch")]
    needs += [("list", "pods", app), ("list", "pods", istio), ("get", "pods/log", app)]
    needs += [("create", "pods/portforward", app), ("get", "services/proxy", istio)]
    return needs


def survey(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    """All needs, one row each (Need, Verdict, Found, Repair).  An API server that does not answer is one
    row, FAIL."""
    try:
        version = guard.server_version(cluster)
    except ClusterError as error:
        row = ("the API server answers", FAIL, error.message, error.fix or "")
        return pd.DataFrame([row], columns=COLUMNS)
    rows: list[Row] = [
        ("the API server answers", OK, f"{cluster.server}, Kubernetes {version}", ""),
        _versions(cfg.istio_version, version),
        _rights(cluster, cfg),
        _istio(cluster, cfg),
        _nodes(cluster),
        _leftovers(cluster),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def demand(survey: pd.DataFrame) -> None:
    """Raises `PreflightError` with every FAIL of a survey."""
    failed = survey[survey["Verdict"] == FAIL]
    if len(failed):
        lines = [f"{row.Need}: {row.Found}" for row in failed.itertuples()]
        raise PreflightError("\n".join(lines), fix=str(failed.iloc[0]["Repair"]) or None)


def _versions(istio: str, kubernetes: str) -> Row:
    need = f"Istio {istio} supports this Kubernetes"
    found = support.warnings(istio, kubernetes)
    if not found:
        return need, OK, f"supported, by the table of {support.AS_OF}", ""
    return need, WARN, "; ".join(found), "choose an istio_version whose row names this Kubernetes"


def _rights(cluster: Cluster, cfg: Config) -> Row:
    asked = guard.may(cluster, rights(cfg))
    denied = asked[~asked["Allowed"]]
    need = f"{len(asked)} rights that the notebooks use"
    if denied.empty:
        return need, OK, "all allowed", ""
    columns = denied[["Verb", "Resource", "Namespace"]].astype(str).to_numpy().tolist()
    names = [f"{verb} {resource} in {namespace or 'the cluster'}" for verb, resource, namespace in columns]
    verdict = WARN if cluster.read_only else FAIL
    return need, verdict, f"denied: {', '.join(names)}", "ask for a role with these rights"


def _istio(cluster: Cluster, cfg: Config) -> Row:
    need = "a way to get Istio in"
    try:
        method, reason = install.choose(cluster, cfg)
    except PreflightError as error:
        return need, FAIL, error.message, error.fix or ""
    return need, OK, f"{method}: {reason}", ""


def _nodes(cluster: Cluster) -> Row:
    nodes = cluster.list("nodes")
    unready = [
        node["metadata"]["name"] for node in nodes if not _is_ready(node["status"].get("conditions", []))
    ]
    if unready or not nodes:
        return (
            "a node that is ready",
            FAIL,
            f"not ready: {', '.join(unready) or 'there is none'}",
            "kubectl get nodes",
        )
    return "a node that is ready", OK, ", ".join(node["metadata"]["name"] for node in nodes), ""


def _is_ready(conditions: Sequence[dict[str, str]]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _leftovers(cluster: Cluster) -> Row:
    left = ours(cluster)
    need = f"nothing left of an earlier run (label {MANAGER})"
    if left.empty:
        return need, OK, "nothing", ""
    runs = ", ".join(sorted(set(left["Run"]) - {""})) or "unknown runs"
    return need, WARN, f"{len(left)} objects of {runs}; they are taken over", "meshlib run --only 90"
