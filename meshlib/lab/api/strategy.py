"""What the server itself writes into an object around a create or an update, kind by kind.

Pure: objects in, the same objects changed.  The rules are those of the registries of a real kube-apiserver
(`PrepareForCreate`, `PrepareForUpdate`); defaults that the API's types declare are the schema room's.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .kinds import Kind
from .store import Obj

# What Kubernetes draws random name parts from: no vowels, so no words.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
MAX_GENERATED = 63
DELETE_KEYS = ("deletionTimestamp", "deletionGracePeriodSeconds")


def now() -> str:
    """The time as `metav1.Time` writes it, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def random_suffix(length: int = 5) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def generated_name(base: str) -> str:
    """`base` and five random characters, cut to 63 in all."""
    return base[: MAX_GENERATED - 5] + random_suffix()


def decode_text(kind: Kind, obj: Obj) -> None:
    """A Secret's `stringData` is written into its `data` and never stored."""
    if kind.resource == "secrets" and (text := obj.pop("stringData", None)):
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _select_pods_of(job: Obj) -> None:
    """A Job's pods are found by its uid: the selector and the labels that the server itself chooses."""
    meta, spec = job["metadata"], job["spec"]
    labels = {
        "batch.kubernetes.io/controller-uid": meta["uid"],
        "batch.kubernetes.io/job-name": meta["name"],
        "controller-uid": meta["uid"],
        "job-name": meta["name"],
    }
    spec.setdefault("manualSelector", False)
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = {**labels, **(template.get("labels") or {})}
    selector = spec.get("selector") or {}
    chosen = {"batch.kubernetes.io/controller-uid": meta["uid"]}
    spec["selector"] = {**selector, "matchLabels": {**chosen, **(selector.get("matchLabels") or {})}}
    if not meta.get("labels"):  # a Job without labels has those of its pods
        meta["labels"] = dict(template["labels"])


def prepare_create(kind: Kind, obj: Obj) -> None:
    """Metadata of a new object, and the status that it starts with."""
    meta = obj["metadata"]
    for key in (*DELETE_KEYS, "selfLink", "generation", "resourceVersion"):
        meta.pop(key, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now()
    if kind.resource == "jobs.batch" and not (obj.get("spec") or {}).get("manualSelector"):
        _select_pods_of(obj)
    spec = obj.get("spec") or {}
    if kind.resource == "pods" and (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if kind.generation:
        meta["generation"] = 1
    if kind.has_status and kind.kind != "Node":
        first = _FIRST_STATUS.get(kind.kind)
        if first is not None and not kind.custom:
            obj["status"] = first(obj)
        else:
            obj.pop("status", None)
    if kind.kind == "Namespace":
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": ["kubernetes"]}
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}


def prepare_update(kind: Kind, new: Obj, old: Obj, subresource: str | None) -> None:
    """Keep what this write may not touch, and count the generation."""
    meta, before = new["metadata"], old["metadata"]
    if subresource == "status":
        _keep_all_but_status(kind, new, old)
        meta = new["metadata"]
    for key in ("uid", "creationTimestamp", "generation", "selfLink", *DELETE_KEYS):
        if key in before:
            meta[key] = before[key]
        else:
            meta.pop(key, None)
    if subresource != "status" and kind.has_status and "status" in old:
        new["status"] = old["status"]
    elif subresource != "status" and kind.has_status:
        new.pop("status", None)
    if kind.kind == "Namespace" and subresource != "finalize":
        new["spec"] = old.get("spec", {})
    if (
        kind.generation
        and subresource not in ("status", "binding")
        and _content(kind, new) != _content(kind, old)
    ):
        meta["generation"] = before.get("generation", 0) + 1


def _content(kind: Kind, obj: Obj) -> Any:
    """What makes a new generation when it changes."""
    meta = obj["metadata"]
    if kind.kind == "Deployment":
        return obj.get("spec"), meta.get("annotations") or {}
    rest = {key: obj[key] for key in obj if key not in ("metadata", "status", "apiVersion", "kind")}
    return (rest, meta.get("labels") or {}) if kind.kind == "EndpointSlice" else rest


def _keep_all_but_status(kind: Kind, new: Obj, old: Obj) -> None:
    status = new.get("status")
    if kind.custom:
        version = new["metadata"].get("resourceVersion")
        new["metadata"] = {**old["metadata"], "resourceVersion": version}
        if "managedFields" in old["metadata"]:
            new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
    elif kind.kind not in ("Node", "Pod", "Service"):
        if labels := old["metadata"].get("labels"):
            new["metadata"]["labels"] = labels
        else:
            new["metadata"].pop("labels", None)
    for key in [key for key in new if key not in ("metadata", "status", "apiVersion", "kind")]:
        del new[key]
    new.update({key: old[key] for key in old if key not in ("metadata", "status", "apiVersion", "kind")})
    if status is None:
        new.pop("status", None)


def _zero(*names: str) -> Callable[[Obj], Obj]:
    return lambda _: dict.fromkeys(names, 0)


def _pod_status(pod: Obj) -> Obj:
    return {"phase": "Pending", "qosClass": qos_class(pod)}


_FIRST_STATUS: dict[str, Callable[[Obj], Obj]] = {
    "Namespace": lambda _: {"phase": "Active"},
    "Pod": _pod_status,
    "Service": lambda _: {"loadBalancer": {}},
    "Deployment": lambda _: {},
    "ReplicaSet": _zero("replicas"),
    "StatefulSet": _zero("replicas", "availableReplicas"),
    "DaemonSet": _zero(
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"
    ),
    "PodDisruptionBudget": _zero("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"),
    "Job": lambda _: {},
    "CronJob": lambda _: {},
}


def qos_class(pod: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all containers."""
    spec = pod.get("spec") or {}
    wanted: list[dict[str, dict[str, str]]] = []
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        resources = container.get("resources") or {}
        limits = {k: v for k, v in (resources.get("limits") or {}).items() if k in ("cpu", "memory")}
        requests = {k: v for k, v in (resources.get("requests") or {}).items() if k in ("cpu", "memory")}
        wanted.append({"limits": limits, "requests": {**limits, **requests}})
    if not any(each["requests"] for each in wanted):
        return "BestEffort"
    whole = all(len(each["limits"]) == 2 and each["limits"] == each["requests"] for each in wanted)
    return "Guaranteed" if whole else "Burstable"
