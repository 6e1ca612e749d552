"""What the server's own admission adds to a new pod: account, token volume, tolerations, priority.  Pure."""

from __future__ import annotations

from .store import Obj
from .strategy import random_suffix

TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_LIFETIME_S = 3607
SYSTEM_PRIORITIES = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
TOLERATED_S = 300


def admit(pod: Obj, account: Obj, priority: int) -> None:
    """Complete `pod` in place for the ServiceAccount `account`."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    spec["serviceAccountName"] = spec["serviceAccount"] = account["metadata"]["name"]
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        _mount_token(spec)
    _tolerate(spec)
    spec["priority"] = priority
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("enableServiceLinks", True)


def _mount_token(spec: Obj) -> None:
    containers = [
        each
        for key in ("initContainers", "containers")
        for each in spec.get(key) or []
        if isinstance(each, dict)
    ]
    without = [
        each
        for each in containers
        if not any(mount.get("mountPath") == TOKEN_MOUNT for mount in each.get("volumeMounts") or [])
    ]
    if not without:
        return
    name = f"kube-api-access-{random_suffix()}"
    for container in without:
        mounts = container.get("volumeMounts") or []
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT}]
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    volume = {"name": name, "projected": {"sources": sources, "defaultMode": 420}}
    spec["volumes"] = [*(spec.get("volumes") or []), volume]


def _tolerate(spec: Obj) -> None:
    tolerations = list(spec.get("tolerations") or [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(_covers(each, key) for each in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_S}
            )
    spec["tolerations"] = tolerations


def _covers(toleration: Obj, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
