"""A Deployment's status: counts and the conditions Available, Progressing and ReplicaFailure. Pure."""

from __future__ import annotations

from typing import Any

from meshlib.lab.controllers.pods import condition, seconds_since
from meshlib.lab.controllers.rollout import Step, counted, is_complete, limits, newest, replicas
from meshlib.lab.kubelet.status import rfc3339

Obj = dict[str, Any]


def status(deployment: Obj, sets: list[Obj], step: Step, now_s: float) -> tuple[Obj, float | None]:
    """The status to write, and the seconds until the progress deadline must be looked at."""
    new = newest(deployment, sets)
    total = sum(counted(each, "replicas") for each in sets)
    available = sum(counted(each, "availableReplicas") for each in sets)
    wanted_pods = sum(replicas(each) for each in sets)
    counts = {
        "replicas": total,
        "updatedReplicas": counted(new, "replicas") if new else 0,
        "readyReplicas": sum(counted(each, "readyReplicas") for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(wanted_pods - available, 0),
    }
    before = deployment.get("status") or {}
    result: Obj = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    result |= {name: count for name, count in counts.items() if count}
    if before.get("collisionCount"):
        result["collisionCount"] = before["collisionCount"]
    wanted = {each["type"]: each for each in before.get("conditions") or []}
    for type_, value, reason, message in step.conditions:
        _set(wanted, type_, value, reason, message, now_s)
    enough = available >= replicas(deployment) - limits(deployment)[1]
    if enough:
        _set(
            wanted,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now_s,
        )
    else:
        text = "Deployment does not have minimum availability."
        _set(wanted, "Available", "False", "MinimumReplicasUnavailable", text, now_s)
    again_s = _progress(deployment, sets, counts, wanted, now_s)
    failures = [found for each in sets if (found := condition(each, "ReplicaFailure"))]
    if failures:
        found = failures[-1]
        _set(wanted, "ReplicaFailure", found["status"], found["reason"], found["message"], now_s)
    else:
        wanted.pop("ReplicaFailure", None)
    result["conditions"] = list(wanted.values())
    return result, again_s


def _progress(
    deployment: Obj, sets: list[Obj], counts: dict[str, int], wanted: dict[str, Obj], now_s: float
) -> float | None:
    deadline_s = deployment["spec"].get("progressDeadlineSeconds")
    if deadline_s is None or deadline_s == 2**31 - 1:
        wanted.pop("Progressing", None)
        return None
    now = wanted.get("Progressing")
    if deployment["spec"].get("paused"):
        if now is None or now["reason"] != "DeploymentPaused":
            _set(wanted, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now_s)
        return None
    if now is not None and now["reason"] == "DeploymentPaused":
        _set(wanted, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now_s)
        now = wanted["Progressing"]
    new = newest(deployment, sets)
    named = (
        f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    )
    before = deployment.get("status") or {}
    generation = deployment["metadata"].get("generation", 1)
    done_before = now is not None and now["reason"] == "NewReplicaSetAvailable"
    if is_complete(deployment, sets) and new is not None:
        _set(
            wanted,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            f"{named} has successfully progressed.",
            now_s,
        )
        return None
    if done_before and before.get("observedGeneration") == generation:
        # A rollout that is over stays over, whatever becomes of its pods later.
        return None
    older = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    moved = (
        counts["updatedReplicas"] > before.get("updatedReplicas", 0)
        or counts["replicas"] - counts["updatedReplicas"] < older
        or counts["readyReplicas"] > before.get("readyReplicas", 0)
        or counts["availableReplicas"] > before.get("availableReplicas", 0)
    )
    if moved or now is None or done_before:
        wanted.pop("Progressing", None)
        _set(wanted, "Progressing", "True", "ReplicaSetUpdated", f"{named} is progressing.", now_s, old=now)
        return float(deadline_s)
    if now["reason"] == "ProgressDeadlineExceeded":
        return None
    left_s = float(deadline_s) - seconds_since(now["lastUpdateTime"], now_s)
    if left_s > 0:
        return left_s
    text = f"{named} has timed out progressing."
    _set(wanted, "Progressing", "False", "ProgressDeadlineExceeded", text, now_s)
    return None


def _set(
    conditions: dict[str, Obj],
    type_: str,
    value: str,
    reason: str,
    message: str,
    now_s: float,
    *,
    old: Obj | None = None,
) -> None:
    """Set a condition; what does not change keeps its times."""
    before = old or conditions.get(type_)
    if (
        type_ in conditions
        and before
        and (before["status"], before["reason"], before["message"])
        == (
            value,
            reason,
            message,
        )
    ):
        return
    now = rfc3339(now_s)
    conditions.pop(type_, None)  # what changes goes to the end, as in the real controller
    conditions[type_] = {
        "type": type_,
        "status": value,
        "lastUpdateTime": now,
        "lastTransitionTime": before["lastTransitionTime"] if before and before["status"] == value else now,
        "reason": reason,
        "message": message,
    }
