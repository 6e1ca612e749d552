"""What a DELETE does to an object: gone at once, or marked and kept.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .errors import StatusError, conflict, forbidden, invalid
from .kinds import Kind
from .store import Obj
from .strategy import now

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
IMMORTAL = ("default", "kube-system", "kube-public")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`propagation` is Background, Foreground, Orphan or None; `uid` and `version` are preconditions."""

    grace_s: int | None = None
    propagation: str | None = None
    uid: str | None = None
    version: str | None = None


def check_preconditions(kind: Kind, obj: Obj, options: DeleteOptions) -> None:
    """Raises StatusError 409 when the object is not the one that was meant."""
    meta = obj["metadata"]
    for name, asked, found, hint in (
        ("UID", options.uid, meta.get("uid"), "The object might have been deleted and then recreated"),
        (
            "ResourceVersion",
            options.version,
            meta.get("resourceVersion"),
            "The object might have been modified",
        ),
    ):
        if asked is not None and asked != found:
            why = f"the {name} in the precondition ({asked}) does not match the {name} in record ({found})"
            raise conflict(kind.kind, kind.group, meta["name"], f"{why}. {hint}")


def mark(kind: Kind, obj: Obj, options: DeleteOptions) -> bool:
    """Change `obj` to what the DELETE leaves; True when it is to be removed at once.

    Raises StatusError 403 for the namespaces that may not go.
    """
    meta = obj["metadata"]
    if kind.kind == "Namespace" and not kind.group:
        return _mark_namespace(obj)
    marked_before = "deletionTimestamp" in meta
    graceful = kind.kind == "Pod" and _mark_pod(obj, options)
    if graceful and marked_before and options.grace_s is None:
        return False
    _set_finalizers(obj, options)
    if meta.get("finalizers"):
        if not graceful:
            _mark_now(obj)
        return False
    if graceful:
        return not meta["deletionGracePeriodSeconds"]
    return True


def finished(kind: Kind, new: Obj, old: Obj) -> bool:
    """Whether an update took away the last thing that held a deleted object."""
    before = old["metadata"]
    if "deletionTimestamp" not in before or new["metadata"].get("finalizers"):
        return False
    if kind.kind == "Namespace" and not kind.group:
        return not (new.get("spec") or {}).get("finalizers")
    return not before.get("deletionGracePeriodSeconds")


def check_finalizers(kind: Kind, new: Obj, old: Obj) -> None:
    """Nobody may add a finalizer to an object that is going away."""
    if "deletionTimestamp" not in old["metadata"]:
        return
    before = old["metadata"].get("finalizers") or []
    added = [each for each in new["metadata"].get("finalizers") or [] if each not in before]
    if added:
        shown = ", ".join(f'"{each}"' for each in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{shown}}}"
        )
        cause = ("metadata.finalizers", "FieldValueForbidden", message)
        raise invalid(kind.group, kind.kind, new["metadata"]["name"], [cause])


def terminating(kind: Kind, namespace: str, name: str) -> StatusError:
    """403 for a create in a namespace that is being deleted."""
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(kind.plural, kind.group, name, why, [cause])


def _mark_namespace(obj: Obj) -> bool:
    meta = obj["metadata"]
    if meta["name"] in IMMORTAL:
        raise forbidden("namespaces", "", meta["name"], "this namespace may not be deleted")
    if "deletionTimestamp" not in meta:
        meta["deletionTimestamp"] = now()
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return not (obj.get("spec") or {}).get("finalizers") and not meta.get("finalizers")


def _mark_pod(obj: Obj, options: DeleteOptions) -> bool:
    """Give a pod its time to end; True when the pod is (still) ending gracefully."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    asked = options.grace_s
    if "deletionTimestamp" in meta:
        left = meta.get("deletionGracePeriodSeconds")
        if left is None:
            return False
        if asked is not None and asked < left:
            ends = datetime.fromisoformat(meta["deletionTimestamp"]) + timedelta(seconds=asked - left)
            meta["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            meta["deletionGracePeriodSeconds"] = asked
        return True
    grace_s = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
    phase = (obj.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        grace_s = 0
    ends = datetime.now(UTC) + timedelta(seconds=grace_s)
    meta["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
    meta["deletionGracePeriodSeconds"] = grace_s
    _next_generation(meta)
    return True


def _set_finalizers(obj: Obj, options: DeleteOptions) -> None:
    """The garbage collector's finalizers follow the propagation policy; without one they stay."""
    if options.propagation is None:
        return
    meta = obj["metadata"]
    kept = [each for each in meta.get("finalizers") or [] if each not in (ORPHAN, FOREGROUND)]
    wanted = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(options.propagation, [])
    if kept or wanted:
        meta["finalizers"] = kept + wanted
    else:
        meta.pop("finalizers", None)


def _mark_now(obj: Obj) -> None:
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta:
        if "deletionGracePeriodSeconds" not in meta:
            _next_generation(meta)
        meta["deletionTimestamp"] = now()
    meta["deletionGracePeriodSeconds"] = 0


def _next_generation(meta: Obj) -> None:
    if meta.get("generation"):
        meta["generation"] += 1
