"""Deciding a Deployment's next step: pure, objects in, writes out.

The rules and the wording follow the deployment controller of Kubernetes (pkg/controller/deployment).
"""

from __future__ import annotations

import hashlib
import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from meshlib.lab.controllers.queue import reference

Obj = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
HASH = "pod-template-hash"
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
}
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass
class Step:
    """What to write now; the next step follows from what that changes."""

    create: Obj | None = None
    scale: list[tuple[Obj, int]] = field(default_factory=list)  # a ReplicaSet and its new size
    annotate: dict[str, dict[str, str]] = field(default_factory=dict)  # ReplicaSet → annotations
    delete: list[Obj] = field(default_factory=list)
    revision: str = ""  # of the Deployment
    conditions: list[tuple[str, str, str, str]] = field(default_factory=list)  # type, status, reason, message
    events: list[tuple[str, str]] = field(default_factory=list)  # reason, message


def replicas(obj: Obj) -> int:
    found = obj["spec"].get("replicas")
    return 1 if found is None else int(found)


def counted(replica_set: Obj, name: str) -> int:
    return int((replica_set.get("status") or {}).get(name, 0))


def template_hash(template: Obj, collisions: int = 0) -> str:
    """The value of `pod-template-hash`: a 32-bit hash, its decimal digits in the alphabet of safe names."""
    canonical = msgspec.json.encode(template, order="deterministic") + str(collisions or "").encode()
    digits = str(int.from_bytes(hashlib.blake2b(canonical, digest_size=4).digest(), "big"))
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in digits)


def _bare(template: Obj) -> Obj:
    bare = deepcopy(template)
    labels = (bare.get("metadata") or {}).get("labels") or {}
    labels.pop(HASH, None)
    (bare.get("metadata") or {}).pop("creationTimestamp", None)
    return bare


def newest(deployment: Obj, sets: list[Obj]) -> Obj | None:
    """The ReplicaSet whose template is the Deployment's; the oldest, if there are several."""
    wanted = _bare(deployment["spec"]["template"])
    same = [each for each in sets if _bare(each["spec"]["template"]) == wanted]
    return min(
        same, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]), default=None
    )


def revision_of(obj: Obj) -> int:
    return int((obj["metadata"].get("annotations") or {}).get(REVISION) or 0)


def bound(value: int | str, total: int, *, up: bool) -> int:
    """An absolute number, or a percentage of `total` rounded up or down."""
    if isinstance(value, int) or not value.endswith("%"):
        return int(value)
    share = total * int(value[:-1]) / 100
    return math.ceil(share) if up else math.floor(share)


def limits(deployment: Obj) -> tuple[int, int]:
    """maxSurge and maxUnavailable as numbers; both 0 would never move, so the second becomes 1."""
    strategy = deployment["spec"].get("strategy") or {}
    wanted = replicas(deployment)
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    surge = bound(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = bound(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted) if wanted else unavailable


def decide(deployment: Obj, sets: list[Obj], old_pods_running: bool) -> Step:
    """The next step of a Deployment with the ReplicaSets that it owns."""
    step = Step()
    sets = sorted(sets, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))
    new = newest(deployment, sets)
    old = [each for each in sets if new is None or each["metadata"]["uid"] != new["metadata"]["uid"]]
    spec = deployment["spec"]
    recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
    paused = bool(spec.get("paused"))
    if paused:
        _keep_revision(step, deployment, new)
        _proportional(step, deployment, new, old)
        _clean_up(step, deployment, old)
        return step
    if new is None:
        if recreate and (_scale_all_down(step, old) or old_pods_running):
            return step
        _create(step, deployment, old)
        return step
    _revise(step, deployment, new, old)
    if _is_scaling(deployment, sets):
        _proportional(step, deployment, new, old)
        return step
    if recreate:
        if _scale_all_down(step, old) or old_pods_running:
            return step
        _resize(step, new, replicas(deployment))
    else:
        _roll(step, deployment, new, old)
    if not step.scale and is_complete(deployment, sets):
        _clean_up(step, deployment, old)
    return step


def _create(step: Step, deployment: Obj, old: list[Obj]) -> None:
    meta, spec = deployment["metadata"], deployment["spec"]
    code = template_hash(spec["template"], int((deployment.get("status") or {}).get("collisionCount") or 0))
    template = deepcopy(spec["template"])
    labels = {**(template.get("metadata") or {}).get("labels", {}), HASH: code}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    selector = deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: code}
    revision = str(max((revision_of(each) for each in old), default=0) + 1)
    size = _new_size(deployment, 0, sum(replicas(each) for each in old))
    name = f"{meta['name']}-{code}"
    body: Obj = {"replicas": size, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    step.create = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {**_copied(deployment), **_sizes(deployment), REVISION: revision},
            "ownerReferences": [reference(deployment)],
        },
        "spec": body,
    }
    step.revision = revision
    step.conditions.append(
        ("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    )
    if size:
        step.events.append(("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}"))


def _copied(deployment: Obj) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {name: value for name, value in annotations.items() if name not in NOT_COPIED}


def _sizes(deployment: Obj) -> dict[str, str]:
    surge, _ = limits(deployment)
    wanted = replicas(deployment)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}


def _keep_revision(step: Step, deployment: Obj, new: Obj | None) -> None:
    if new is not None:
        step.revision = str(revision_of(new) or "")


def _revise(step: Step, deployment: Obj, new: Obj, old: list[Obj]) -> None:
    """The new ReplicaSet carries the highest revision and the Deployment's annotations."""
    before = new["metadata"].get("annotations") or {}
    revision = max(max((revision_of(each) for each in old), default=0) + 1, revision_of(new))
    wanted = {**_copied(deployment), REVISION: str(revision)}
    if revision_of(new) and revision_of(new) != revision:
        history = [each for each in before.get(HISTORY, "").split(",") if each]
        wanted[HISTORY] = ",".join([*history, str(revision_of(new))])
    name = new["metadata"]["name"]
    if not wanted.items() <= before.items():
        step.annotate[name] = wanted
    step.revision = str(revision)
    known = [each["type"] for each in (deployment.get("status") or {}).get("conditions") or []]
    if "Progressing" not in known:
        step.conditions.append(
            ("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"')
        )


def _is_scaling(deployment: Obj, sets: list[Obj]) -> bool:
    """Whether the wanted size changed since the active ReplicaSets were last written."""
    for each in sets:
        known = (each["metadata"].get("annotations") or {}).get(DESIRED)
        if replicas(each) and known is not None and int(known) != replicas(deployment):
            return True
    return False


def _resize(step: Step, replica_set: Obj, size: int) -> bool:
    was = replicas(replica_set)
    if was == size:
        return False
    step.scale.append((replica_set, size))
    way = "up" if size > was else "down"
    name = replica_set["metadata"]["name"]
    step.events.append(("ScalingReplicaSet", f"Scaled {way} replica set {name} from {was} to {size}"))
    return True


def _scale_all_down(step: Step, old: list[Obj]) -> bool:
    resized = [_resize(step, each, 0) for each in old]
    return True in resized


def _proportional(step: Step, deployment: Obj, new: Obj | None, old: list[Obj]) -> None:
    """A change of size in the middle of a rollout (or while paused) is shared out by size, larger ones
    first.
    """
    active = [each for each in [new, *old] if each is not None and replicas(each)]
    wanted = replicas(deployment)
    if len(active) <= 1 or (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        target = active[0] if active else (new or (old[-1] if old else None))
        if target is not None:
            _mark_sizes(step, deployment, target)
            _resize(step, target, wanted)
        return
    if new is not None and counted(new, "availableReplicas") == wanted == replicas(new):
        for each in old:
            _resize(step, each, 0)
        return
    allowed = wanted + limits(deployment)[0] if wanted else 0
    left = allowed - sum(replicas(each) for each in active)
    newer_first = sorted(
        active, key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=left > 0
    )
    order = sorted(newer_first, key=replicas, reverse=True)
    sizes = []
    for each in order:
        known = (each["metadata"].get("annotations") or {}).get(MAXIMUM)
        before = int(known) if known else counted(deployment, "replicas")
        fair = round(replicas(each) * allowed / before) - replicas(each) if before else 0
        share = max(min(fair, left), 0) if left > 0 else min(max(fair, left), 0)
        left -= share
        sizes.append(replicas(each) + share)
    sizes[0] = max(sizes[0] + left, 0)  # what rounding left over goes to the largest
    for each, size in zip(order, sizes, strict=True):
        _mark_sizes(step, deployment, each)
        _resize(step, each, size)


def _mark_sizes(step: Step, deployment: Obj, replica_set: Obj) -> None:
    wanted = _sizes(deployment)
    if not wanted.items() <= (replica_set["metadata"].get("annotations") or {}).items():
        step.annotate.setdefault(replica_set["metadata"]["name"], {}).update(wanted)


def _new_size(deployment: Obj, now: int, others: int) -> int:
    wanted = replicas(deployment)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return wanted
    most = wanted + limits(deployment)[0]
    if now + others >= most:
        return now
    return now + min(most - now - others, wanted - now)


def _roll(step: Step, deployment: Obj, new: Obj, old: list[Obj]) -> None:
    wanted, size = replicas(deployment), replicas(new)
    _mark_sizes(step, deployment, new)
    others = sum(replicas(each) for each in old)
    target = wanted if size > wanted else _new_size(deployment, size, others)
    if _resize(step, new, target) or not others:
        return
    _, unavailable = limits(deployment)
    least = wanted - unavailable
    removable = others + size - least - max(size - counted(new, "availableReplicas"), 0)
    if removable <= 0:
        return
    sizes = {each["metadata"]["name"]: replicas(each) for each in old}
    removed = 0
    for each in old:  # what is not healthy goes first and costs nothing
        name = each["metadata"]["name"]
        sick = sizes[name] - counted(each, "availableReplicas")
        taken = min(max(sick, 0), removable - removed)
        sizes[name] -= taken
        removed += taken
    available = counted(new, "availableReplicas") + sum(counted(each, "availableReplicas") for each in old)
    spare = max(available - least, 0)
    for each in old:
        name = each["metadata"]["name"]
        taken = min(sizes[name], spare, removable - removed)
        sizes[name] -= taken
        spare -= taken
        removed += taken
    for each in old:
        _resize(step, each, sizes[each["metadata"]["name"]])


def _clean_up(step: Step, deployment: Obj, old: list[Obj]) -> None:
    """Old, empty ReplicaSets beyond the history limit go, lowest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    alive = [each for each in old if "deletionTimestamp" not in each["metadata"]]
    for each in sorted(alive, key=revision_of)[: max(len(alive) - int(limit), 0)]:
        seen = counted(each, "observedGeneration") >= int(each["metadata"].get("generation", 0))
        if not replicas(each) and not counted(each, "replicas") and seen:
            step.delete.append(each)


def is_complete(deployment: Obj, sets: list[Obj]) -> bool:
    """Every pod is new and available, and no old one is left."""
    new = newest(deployment, sets)
    wanted = replicas(deployment)
    total = sum(counted(each, "replicas") for each in sets)
    available = sum(counted(each, "availableReplicas") for each in sets)
    return (counted(new, "replicas") if new else 0) == wanted and total == wanted and available == wanted
