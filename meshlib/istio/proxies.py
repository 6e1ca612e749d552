"""The proxies of the mesh: which pods have one, in which form, and what its admin port says."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.kube import proxy
from meshlib.kube.client import Cluster, Obj
from meshlib.probe import fetch

ADMIN_PORT = 15000
DEBUG_PORT = 15014
CONTAINER = "istio-proxy"
IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")


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
    """The pods of a namespace with their proxy; pods that are being deleted are left out.

    One row a pod: Pod, Ready, Sidecar, Proxy image, Service account, Revision.
    """
    rows = []
    for pod in cluster.list("pods", namespace, labels=labels):
        spec, meta = pod["spec"], pod["metadata"]
        if "deletionTimestamp" in meta:
            continue
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


def dry_run(cluster: Cluster, namespace: str, image: str) -> pd.DataFrame:
    """What admission would make of a pod with one container `probe`; nothing is stored or started.

    One row a container: Container, Kind (`container`, `init container`, `native sidecar`), Image.
    """
    pod: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"containers": [{"name": "probe", "image": image}]},
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    made = cluster.call("POST", path, params={"dryRun": "All"}, body=pod)["spec"]
    rows = [
        (
            each["name"],
            "native sidecar" if each.get("restartPolicy") == "Always" else "init container",
            each["image"],
        )
        for each in made.get("initContainers", [])
    ]
    rows += [(each["name"], "container", each["image"]) for each in made["containers"]]
    return pd.DataFrame(rows, columns=["Container", "Kind", "Image"])


def injectors(cluster: Cluster) -> pd.DataFrame:
    """The webhooks that inject sidecars and the labels of a namespace that each asks for."""
    rows = [
        (each["metadata"]["name"], hook["name"], _selector(hook.get("namespaceSelector", {})))
        for each in cluster.list("mutatingwebhookconfigurations.admissionregistration.k8s.io")
        for hook in each["webhooks"]
        if "sidecar-injector" in hook["name"]
    ]
    return pd.DataFrame(rows, columns=["Configuration", "Webhook", "Namespaces with"])


def _selector(selector: Obj) -> str:
    words = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    for rule in selector.get("matchExpressions", []):
        values = f" ({', '.join(rule['values'])})" if rule.get("values") else ""
        words.append(f"{rule['key']} {rule['operator']}{values}")
    return ", ".join(words)


def wait_for_stuck(cluster: Cluster, namespace: str, labels: str, *, timeout_s: float) -> pd.DataFrame:
    """Wait until a pod cannot get its image: one row for each such pod (Pod, Container, Reason, Message)."""

    def probe() -> pd.DataFrame:
        rows = []
        for pod in cluster.list("pods", namespace, labels=labels):
            for each in pod.get("status", {}).get("containerStatuses", []):
                waiting = each.get("state", {}).get("waiting", {})
                if waiting.get("reason") in IMAGE_REASONS:
                    row = (
                        pod["metadata"]["name"],
                        each["name"],
                        waiting["reason"],
                        waiting.get("message", ""),
                    )
                    rows.append(row)
        if not rows:
            raise wait.NotYet("no container waits for its image")
        return pd.DataFrame(rows, columns=["Pod", "Container", "Reason", "Message"])

    return wait.until(probe, f"a pod in {namespace} that cannot get its image", timeout_s=timeout_s)


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


SYNCED_TYPES = {"CDS": "cluster", "LDS": "listener", "EDS": "endpoint", "RDS": "route"}


def syncz(cluster: Cluster, root: str = "istio-system") -> list[Obj]:
    """istiod's /debug/syncz: one entry a proxy, from every istiod that runs.

    Raises `ClusterError` when no istiod runs or none answers.
    """
    running = cluster.list("pods", root, labels="app=istiod", fields="status.phase=Running")
    if not running:
        raise ClusterError(f"no istiod runs in {root}", fix=f"kubectl get pods -n {root} -l app=istiod")
    entries: list[Obj] = []
    for pod in running:
        name = pod["metadata"]["name"]
        with proxy.forward(cluster, root, name, DEBUG_PORT) as address:
            answer = fetch(f"http://{address}/debug/syncz")
        if answer.status != 200:
            raise ClusterError(
                f"{root}/{name} answered {answer.outcome} to /debug/syncz",
                fix=f"kubectl port-forward -n {root} {name} {DEBUG_PORT}",
            )
        entries += [{**each, "istiod": name} for each in json.loads(answer.body) or []]
    return entries


def stale(entry: Obj) -> list[str]:
    """The xDS types of a syncz entry that the proxy was sent and has not taken."""
    return [kind for kind, word in SYNCED_TYPES.items() if _sync_state(entry, word).startswith("STALE")]


def _sync_state(entry: Obj, word: str) -> str:
    sent, acked = entry.get(f"{word}_sent"), entry.get(f"{word}_acked")
    if not sent:
        return "NOT SENT"
    if not acked:
        return "STALE (Never Acknowledged)"
    return "SYNCED" if sent == acked else "STALE"


def status(cluster: Cluster, root: str = "istio-system") -> pd.DataFrame:
    """`istioctl proxy-status` (the columns of 1.19): NAME, CLUSTER, CDS, LDS, EDS, RDS, ISTIOD, VERSION."""
    return status_table(syncz(cluster, root))


def status_table(entries: list[Obj]) -> pd.DataFrame:
    """Pure: the table of `status`."""
    rows = [
        (
            each["proxy"],
            each.get("cluster_id", ""),
            *(_sync_state(each, word) for word in SYNCED_TYPES.values()),
            each.get("istiod", ""),
            each.get("istio_version", ""),
        )
        for each in sorted(entries, key=lambda each: str(each["proxy"]))
    ]
    return pd.DataFrame(rows, columns=["NAME", "CLUSTER", *SYNCED_TYPES, "ISTIOD", "VERSION"])
