"""Take away what this project brought: the mesh edit, an Istio that it installed with a tool, dead
webhooks."""

from __future__ import annotations

import pandas as pd

from meshlib import wait
from meshlib.istio import faults, mesh, tools
from meshlib.istio.install import INSTALLED_BY, NAMESPACE_MADE
from meshlib.kube.apply import MANAGER, RUN_ID
from meshlib.kube.client import Cluster, Obj
from meshlib.parameters import Config

WEBHOOKS = (
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
)
ROOT_CERT = "istio-ca-root-cert"
CLUSTER_ROLES = "clusterroles.rbac.authorization.k8s.io"
LAST = (
    "clusterrolebindings.rbac.authorization.k8s.io",
    CLUSTER_ROLES,
    "customresourcedefinitions.apiextensions.k8s.io",
)


def restore_mesh(cluster: Cluster, cfg: Config) -> str:
    """Put the mesh configuration's text back, whatever changed it last; says what was done."""
    if cluster.find("configmaps", mesh.CONFIG_MAP, cfg.istio_namespace) is None:
        return "there is no mesh configuration"
    broken = faults.mend_mesh(cluster, cfg)  # first: a fault came on top of the edit
    return "restored" if mesh.restore(cluster, cfg.istio_namespace) or broken else "it was not changed"


def in_two_goes(mine: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pure: what `apply.ours` listed as (what to delete first, what last).

    The roles of the cluster go last.  They tell that the istiod was ours until the copies of its root
    certificate are gone too, so that a cleanup that was ended in between can be gone on with.
    """
    late = mine["Resource"].isin(LAST)
    return mine[~late], mine[late]


def by_tool(cluster: Cluster, cfg: Config) -> str:
    """Uninstall Istio where the namespace says that this project installed it with istioctl or helm; says
    what was done."""
    namespace = cluster.find("namespaces", cfg.istio_namespace)
    notes = (namespace or {"metadata": {}})["metadata"].get("annotations") or {}
    method = notes.get(INSTALLED_BY, "")
    if not method:
        return "no tool was used by this project"
    others = [
        each
        for each in cluster.list("deployments.apps", labels="app=istiod")
        if each["metadata"]["namespace"] != cfg.istio_namespace
    ]
    program = tools.istioctl(cfg) if method == "istioctl" else "helm"
    tools.run(plan(cluster, cfg, method, program, alone=not others))
    _root_certificates(cluster, cfg)
    if NAMESPACE_MADE in notes:
        cluster.delete("namespaces", cfg.istio_namespace)
    else:
        gone = {"metadata": {"annotations": {INSTALLED_BY: None, RUN_ID: None}}}
        cluster.merge("namespaces", cfg.istio_namespace, gone, manager=MANAGER)
    return f"uninstalled with {method}"


def plan(cluster: Cluster, cfg: Config, method: str, program: str, *, alone: bool) -> list[list[str]]:
    """The commands that undo `method`, as argument lists.

    `istioctl uninstall --purge` takes every Istio of the cluster along, so it is for ours `alone` only.
    """
    if method == "istioctl":
        where = ["--kubeconfig", str(cluster.kubeconfig), "--context", cluster.context]
        what = ["--purge"] if alone else ["--revision", "default", "--istioNamespace", cfg.istio_namespace]
        return [[program, "uninstall", *what, "--skip-confirmation", *where]]
    where = ["--kubeconfig", str(cluster.kubeconfig), "--kube-context", cluster.context]
    releases = ("istio-egressgateway", "istio-ingressgateway", "istiod", "istio-base")
    return [
        [
            program,
            "uninstall",
            name,
            "--namespace",
            cfg.istio_namespace,
            "--wait",
            "--ignore-not-found",
            *where,
        ]
        for name in releases
    ]


def orphaned_webhooks(cluster: Cluster) -> list[str]:
    """Istio's webhooks whose Service is gone: the API server would refuse what they match."""
    return [
        f"{each['metadata']['name']}: {hook['name']}"
        for kind in WEBHOOKS
        for each in cluster.list(kind)
        for hook in each["webhooks"]
        if hook["name"].endswith("istio.io") and _service_is_gone(cluster, hook)
    ]


def _service_is_gone(cluster: Cluster, hook: Obj) -> bool:
    service = hook["clientConfig"].get("service")
    return service is not None and cluster.find("services", service["name"], service["namespace"]) is None


def root_certificates(cluster: Cluster, cfg: Config, mine: pd.DataFrame) -> int:
    """Delete the copies of the mesh's root certificate that our istiod left in each namespace; how many.

    Only where `mine`, the list of what was ours, has an istiod or its role, and no other istiod is there
    that would need them.
    """
    istiods = (mine["Resource"] == "deployments.apps") & (mine["Name"] == "istiod")
    roles = (mine["Resource"] == CLUSTER_ROLES) & mine["Name"].str.startswith("istiod-")
    return _root_certificates(cluster, cfg) if bool((istiods | roles).any()) else 0


def _root_certificates(cluster: Cluster, cfg: Config) -> int:
    if cluster.list("deployments.apps", labels="app=istiod"):
        return 0

    def stopped() -> None:
        if left := cluster.list("pods", cfg.istio_namespace, labels="app=istiod"):
            raise wait.NotYet(f"{left[0]['metadata']['name']} is still there, and would write them again")

    wait.until(stopped, "istiod to end", timeout_s=cfg.timeout_s)
    left = cluster.list("configmaps", labels="istio.io/config=true", fields=f"metadata.name={ROOT_CERT}")
    return sum(cluster.delete("configmaps", ROOT_CERT, each["metadata"]["namespace"]) for each in left)
