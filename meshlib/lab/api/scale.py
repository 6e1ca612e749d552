"""The `scale` subresource: a workload seen as a number of replicas.  Pure."""

from __future__ import annotations

from .columns import selector_text
from .errors import invalid
from .store import Obj


def to_scale(obj: Obj) -> Obj:
    """The autoscaling/v1 Scale of a workload; zero replicas are left out of its spec, as Go does."""
    meta = obj["metadata"]
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    shown: Obj = {"replicas": status.get("replicas", 0)}
    selector = spec.get("selector")
    if selector is not None:
        shown["selector"] = selector_text(
            selector if "matchLabels" in selector else {"matchLabels": selector}
        )
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": shown,
    }


def from_scale(obj: Obj, scale: Obj) -> Obj:
    """The workload with the replicas (and, for the precondition, the version) of the Scale; raises 422."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        causes = [("spec.replicas", "FieldValueInvalid", message)]
        raise invalid("autoscaling", "Scale", obj["metadata"]["name"], causes)
    meta = dict(obj["metadata"])
    if version := scale["metadata"].get("resourceVersion"):
        meta["resourceVersion"] = version
    if uid := scale["metadata"].get("uid"):
        meta["uid"] = uid
    return {**obj, "metadata": meta, "spec": {**(obj.get("spec") or {}), "replicas": replicas}}
