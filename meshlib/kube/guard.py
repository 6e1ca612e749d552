"""Which cluster this is, and whether this run may write to it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pandas as pd

from meshlib.errors import ClusterError, PreflightError
from meshlib.kube import client
from meshlib.kube.client import Cluster
from meshlib.parameters import Config


def identity(cluster: Cluster) -> pd.DataFrame:
    """Who is asked and who asks: server, versions, nodes, runtime, age, user, one row a fact (Fact,
    Value)."""
    nodes = cluster.list("nodes")
    facts = {
        "kubeconfig": str(cluster.kubeconfig),
        "context": cluster.context,
        "API server": cluster.server,
        "Kubernetes": server_version(cluster),
        "nodes": ", ".join(node["metadata"]["name"] for node in nodes),
        "container runtime": ", ".join(sorted(runtimes(cluster))),
        "age": _age(cluster.get("namespaces", "kube-system")["metadata"]["creationTimestamp"]),
        "you are": whoami(cluster),
        "may write": "no (read-only)" if cluster.read_only else "yes",
    }
    return pd.DataFrame(facts.items(), columns=["Fact", "Value"])


def server_version(cluster: Cluster) -> str:
    """The version that GET /version gives, such as `v1.36.2`."""
    return str(cluster.call("GET", "/version")["gitVersion"])


def runtimes(cluster: Cluster) -> set[str]:
    """The container runtimes of the nodes, such as `containerd://2.1.4`."""
    return {node["status"]["nodeInfo"]["containerRuntimeVersion"] for node in cluster.list("nodes")}


def whoami(cluster: Cluster) -> str:
    """The user that the API server takes us for, with the groups; says so when the server cannot tell."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    try:
        user = cluster.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)[
            "status"
        ]["userInfo"]
    except ClusterError as error:
        return f"unknown ({error.status or 'no answer'})"
    return f"{user['username']} ({', '.join(user.get('groups', []))})"


def may(cluster: Cluster, needs: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """Whether this user may do each (verb, `plural.group`, namespace or ""): Verb, Resource, Namespace,
    Allowed, Reason."""
    rows = []
    for verb, resource, namespace in needs:
        plural, _, group = resource.partition(".")
        plural, _, sub = plural.partition("/")
        asked = {"verb": verb, "resource": plural, "group": group, "subresource": sub, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        status = cluster.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)[
            "status"
        ]
        rows.append((verb, resource, namespace, bool(status["allowed"]), status.get("reason", "")))
    return pd.DataFrame(rows, columns=["Verb", "Resource", "Namespace", "Allowed", "Reason"])


def connect(cfg: Config) -> Cluster:
    """Open the cluster that the parameters name and refuse to write where the user did not confirm.

    Nothing is sent.  Raises `PreflightError` when a context is named but `confirm_context` does not repeat
    it, `ClusterError` when the kubeconfig cannot be used.
    """
    cluster = client.connect(
        cfg.kubeconfig_path,
        cfg.context,
        read_only=cfg.read_only,
        timeout_s=cfg.timeout_s,
        run_id=cfg.run_id,
        write_namespaces=write_namespaces(cfg),
    )
    if cfg.context and not cfg.read_only and cfg.confirm_context != cluster.context:
        raise PreflightError(
            f"this run would write to {cluster.server} (context {cluster.context}), "
            f"but confirm_context is {cfg.confirm_context!r}",
            fix=f"set confirm_context: {cluster.context} once you are sure, or read_only: true",
        )
    return cluster


def write_namespaces(cfg: Config) -> tuple[str, ...]:
    """The patterns of the parameter; none where the notebook does not declare it."""
    listed = str(cfg.as_dict().get("write_namespaces", ""))
    return tuple(each.strip() for each in listed.split(",") if each.strip())


def _age(created: str) -> str:
    born = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    seconds = int((datetime.datetime.now(datetime.UTC) - born).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
