"""The proxies of the mesh: which pods have one, in which form, and what its admin port says."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from meshlib.errors import ClusterError
from meshlib.kube import proxy
from meshlib.kube.client import Cluster, Obj
from meshlib.probe import fetch

ADMIN_PORT = 15000
CONTAINER = "istio-proxy"


def form(pod: Obj) -> str:
    """`container` or `native sidecar` (an init container that restarts always), "" when the pod has no proxy.

    Native sidecars are the default since Istio 1.27, so both lists of containers have to be read.
    """
    spec = pod["spec"]
    for each in spec.get("initContainers", []):
        if each["name"] == CONTAINER and each.get("restartPolicy") == "Always":
            return "native sidecar"
    return "container" if any(each["name"] == CONTAINER for each in spec["containers"]) else ""


def ready(pod: Obj) -> str:
    """Ready and all containers, counted as `kubectl get pods` does: native sidecars count, other init
    containers not."""
    spec, status = pod["spec"], pod.get("status", {})
    native = {
        each["name"] for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"
    }
    counted = [each for each in status.get("initContainerStatuses", []) if each["name"] in native]
    counted += status.get("containerStatuses", [])
    total = len(native) + len(spec["containers"])
    return f"{sum(bool(each.get('ready')) for each in counted)}/{total}"


def pods(cluster: Cluster, namespace: str, *, labels: str = "") -> pd.DataFrame:
    """The pods of a namespace with their proxy: Pod, Ready, Sidecar, Proxy image, Service account,
    Revision."""
    rows = []
    for pod in cluster.list("pods", namespace, labels=labels):
        spec, meta = pod["spec"], pod["metadata"]
        both = [*spec.get("initContainers", []), *spec["containers"]]
        image = next((each["image"] for each in both if each["name"] == CONTAINER), "")
        revision = meta.get("annotations", {}).get("istio.io/rev", "") or meta.get("labels", {}).get(
            "istio.io/rev", ""
        )
        account = spec.get("serviceAccountName", "default")
        rows.append((meta["name"], ready(pod), form(pod) or "none", image, account, revision))
    return pd.DataFrame(
        rows, columns=["Pod", "Ready", "Sidecar", "Proxy image", "Service account", "Revision"]
    )


def admin(cluster: Cluster, namespace: str, pod: str, path: str) -> Any:
    """GET a path of Envoy's admin port (15000, loopback of the pod) through a port-forward; JSON where it is
    JSON."""
    with proxy.forward(cluster, namespace, pod, ADMIN_PORT) as address:
        answer = fetch(f"http://{address}{path}")
    if answer.status != 200:
        raise ClusterError(
            f"Envoy's admin port of {namespace}/{pod} answered {answer.error or answer.status} to {path}",
            fix=f"istioctl proxy-config all -n {namespace} {pod}",
        )
    if answer.headers.get("content-type", "").startswith("application/json"):
        return json.loads(answer.body)
    return answer.text
