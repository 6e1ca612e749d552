"""Jobs, indexed or not: pods until enough have succeeded or too many have failed. Deciding is pure.

Without pod failure policies, success policies and limits for each index: the schema room refuses them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from meshlib.lab.api.registry import Event
from meshlib.lab.controllers.pods import condition, is_ready, seconds_since
from meshlib.lab.controllers.queue import (
    Controller,
    Key,
    Obj,
    controller_of,
    deleting,
    key_of,
    owner_key,
    reference,
)
from meshlib.lab.kubelet.status import rfc3339

COMPONENT = "job-controller"
INDEX = "batch.kubernetes.io/job-completion-index"  # label and annotation of an indexed Job's pod
VARIABLE = "JOB_COMPLETION_INDEX"
BACKOFF_S, LONGEST_BACKOFF_S = 10.0, 600.0


@dataclass
class Plan:
    """What a Job needs now: pods to make or delete, an end (type, reason, message), when to look again."""

    create: int = 0
    indexes: tuple[int, ...] = ()  # of the pods to make; empty: they have none
    delete: list[Obj] = field(default_factory=list)
    end: tuple[str, str, str] | None = None
    again_s: float | None = None


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def finished(job: Obj) -> bool:
    return any(
        (found := condition(job, each)) and found["status"] == "True" for each in ("Complete", "Failed")
    )


def indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Obj) -> int:
    """The pod's completion index, -1 where it has none."""
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, -1))


def intervals(indexes: Iterable[int]) -> str:
    """`0,2-4`: how `status.completedIndexes` is written."""
    found: list[list[int]] = []
    for each in sorted(set(indexes)):
        if found and each == found[-1][1] + 1:
            found[-1][1] = each
        else:
            found.append([each, each])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def succeeded_indexes(job: Obj, owned: list[Obj]) -> set[int]:
    whole = range(int(job["spec"]["completions"]))
    return {index for pod in owned if phase(pod) == "Succeeded" and (index := index_of(pod)) in whole}


def plan(job: Obj, owned: list[Obj], now_s: float) -> Plan:
    """Decide from the Job and its pods."""
    spec = job["spec"]
    active = [pod for pod in owned if phase(pod) in ("Pending", "Running") and not deleting(pod)]
    succeeded = _succeeded(job, owned)
    failed = [pod for pod in owned if phase(pod) == "Failed"]
    if finished(job):
        return Plan(delete=active)
    parallelism = int(spec.get("parallelism", 1))
    completions = spec.get("completions")
    restarts = sum(
        each.get("restartCount", 0)
        for pod in active
        for each in (pod.get("status") or {}).get("containerStatuses") or []
        if spec["template"]["spec"].get("restartPolicy") == "OnFailure"
    )
    if len(failed) + restarts > int(spec.get("backoffLimit", 6)):
        text = "Job has reached the specified backoff limit"
        return Plan(delete=active, end=("Failed", "BackoffLimitExceeded", text))
    again_s = None
    started = (job.get("status") or {}).get("startTime")
    if started and (limit_s := spec.get("activeDeadlineSeconds")):
        again_s = float(limit_s) - seconds_since(started, now_s)
        if again_s <= 0:
            text = "Job was active longer than specified deadline"
            return Plan(delete=active, end=("Failed", "DeadlineExceeded", text))
    enough = succeeded > 0 and not active if completions is None else succeeded >= int(completions)
    if enough:
        return Plan(end=("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    if spec.get("suspend"):
        return Plan(delete=active)
    wanted = parallelism if completions is None else min(parallelism, int(completions) - succeeded)
    if completions is None and succeeded:
        wanted = 0
    missing = wanted - len(active)
    if missing < 0:
        return Plan(delete=active[:-missing], again_s=again_s)
    if missing and failed:
        last = max(_ended(pod) for pod in failed)
        pause_s = min(BACKOFF_S * 2 ** (len(failed) - 1), LONGEST_BACKOFF_S) - seconds_since(last, now_s)
        if pause_s > 0:
            return Plan(again_s=min(pause_s, again_s or pause_s))
    if not indexed(job):
        return Plan(create=missing, again_s=again_s)
    taken = succeeded_indexes(job, owned) | {index_of(pod) for pod in active}
    left = [index for index in range(int(completions or 0)) if index not in taken][:missing]
    return Plan(create=len(left), indexes=tuple(left), again_s=again_s)


def _succeeded(job: Obj, owned: list[Obj]) -> int:
    if indexed(job):
        return len(succeeded_indexes(job, owned))
    return sum(phase(pod) == "Succeeded" for pod in owned)


def _ended(pod: Obj) -> str:
    ends = [
        each["state"]["terminated"]["finishedAt"]
        for each in (pod.get("status") or {}).get("containerStatuses") or []
        if "terminated" in each["state"]
    ]
    return str(max(ends, default=pod["metadata"]["creationTimestamp"]))


def status(job: Obj, owned: list[Obj], end: tuple[str, str, str] | None, now_s: float) -> Obj:
    """The status to write."""
    before = job.get("status") or {}
    active = [pod for pod in owned if phase(pod) in ("Pending", "Running") and not deleting(pod)]
    counts = {
        "active": len(active),
        "succeeded": _succeeded(job, owned),
        "failed": sum(phase(pod) == "Failed" for pod in owned),
    }
    result: Obj = {name: count for name, count in counts.items() if count}
    result["ready"] = sum(is_ready(pod) for pod in active)
    result["terminating"] = sum(deleting(pod) for pod in owned if phase(pod) in ("Pending", "Running"))
    suspended = bool(job["spec"].get("suspend")) and not finished(job)
    if not suspended:
        result["startTime"] = before.get("startTime") or rfc3339(now_s)
    result["uncountedTerminatedPods"] = {}
    if indexed(job) and (done := intervals(succeeded_indexes(job, owned))):
        result["completedIndexes"] = done
    conditions = _suspension(list(before.get("conditions") or []), suspended, rfc3339(now_s))
    if end is not None and not finished(job):
        type_, reason, message = end
        first = "SuccessCriteriaMet" if type_ == "Complete" else "FailureTarget"
        now = rfc3339(now_s)
        conditions += [
            {
                "type": each,
                "status": "True",
                "lastProbeTime": now,
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            }
            for each in (first, type_)
        ]
        if type_ == "Complete":
            result["completionTime"] = now
    elif "completionTime" in before:
        result["completionTime"] = before["completionTime"]
    if conditions:
        result["conditions"] = conditions
    return result


def _suspension(conditions: list[Obj], suspended: bool, now: str) -> list[Obj]:
    """The conditions with that of a suspended or resumed Job brought up to date."""
    known = next((each for each in conditions if each["type"] == "Suspended"), None)
    if suspended == (known is not None and known["status"] == "True"):
        return conditions
    word = "suspended" if suspended else "resumed"
    made = {
        "type": "Suspended",
        "status": str(suspended),
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": f"Job{word.capitalize()}",
        "message": f"Job {word}",
    }
    return [made if each is known else each for each in conditions] if known else [*conditions, made]


def new_pod(job: Obj, index: int | None = None) -> Obj:
    """The pod to create; with an index it is told so in every way that a Job's pod is."""
    template = deepcopy(job["spec"]["template"])
    meta = template.get("metadata") or {}
    name = job["metadata"]["name"]
    pod: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{key: meta[key] for key in ("labels", "annotations") if meta.get(key)},
            "generateName": f"{name}-" if index is None else f"{name}-{index}-",
            "ownerReferences": [reference(job)],
        },
        "spec": template["spec"],
    }
    if index is not None:
        for key in ("labels", "annotations"):
            pod["metadata"][key] = {**pod["metadata"].get(key, {}), INDEX: str(index)}
        pod["spec"].setdefault("hostname", f"{name}-{index}")
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            env = container.setdefault("env", [])
            if all(each["name"] != VARIABLE for each in env):
                env.append({"name": VARIABLE, "valueFrom": source})
    return pod


def _switched(before: Obj, now: Obj) -> tuple[str, str] | None:
    """The event of a Job that was suspended or resumed; None where neither happened."""
    was, is_ = (
        next((c["status"] for c in each.get("conditions") or [] if c["type"] == "Suspended"), "False")
        for each in (before, now)
    )
    if was == is_:
        return None
    return ("Suspended", "Job suspended") if is_ == "True" else ("Resumed", "Job resumed")


class Jobs(Controller):
    name = "job"
    watches = ("jobs.batch", "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        return [key_of(event.object)] if event.resource == "jobs.batch" else owner_key(event.object, "Job")

    async def reconcile(self, key: Key) -> float | None:
        job = self.find("jobs.batch", key)
        if job is None or deleting(job):
            return None
        decided = plan(job, self._owned(job), time.time())
        for index in decided.indexes or [None] * decided.create:
            pod = new_pod(job, index)
            made = await self.registry.create("pods", key.namespace, pod, manager=COMPONENT)
            await self._event(job, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        for pod in decided.delete:
            uid = pod["metadata"]["uid"]
            await self.registry.delete("pods", *key_of(pod), uid=uid)
            await self._event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        wanted = status(job, self._owned(job), decided.end, time.time())
        if (switched := _switched(job.get("status") or {}, wanted)) is not None:
            await self._event(job, "Normal", *switched)
        if wanted != job.get("status"):

            def change(live: Obj) -> None:
                live["status"] = wanted

            await self.registry.modify("jobs.batch", *key, change, subresource="status", manager=COMPONENT)
        if decided.end is not None:
            type_, reason, message = decided.end
            if type_ == "Complete":
                await self._event(job, "Normal", "Completed", "Job completed")
            else:
                await self._event(job, "Warning", reason, message)
        return await self._expire(job, wanted) or decided.again_s

    async def _expire(self, job: Obj, now: Obj) -> float | None:
        """Delete a finished Job when its ttlSecondsAfterFinished is over; else the seconds until then."""
        keep_s = job["spec"].get("ttlSecondsAfterFinished")
        ends = [
            each["lastTransitionTime"]
            for each in now.get("conditions") or []
            if each["type"] in ("Complete", "Failed")
        ]
        if keep_s is None or not ends:
            return None
        left_s = float(keep_s) - seconds_since(max(ends), time.time())
        if left_s > 0:
            return left_s
        uid = job["metadata"]["uid"]
        await self.registry.delete("jobs.batch", *key_of(job), propagation="Background", uid=uid)
        return None

    def _owned(self, job: Obj) -> list[Obj]:
        found = self.registry.list("pods", job["metadata"]["namespace"])
        uid = job["metadata"]["uid"]
        return [pod for pod in found if (owner := controller_of(pod)) and owner["uid"] == uid]

    async def _event(self, job: Obj, type_: str, reason: str, message: str) -> None:
        await self.registry.event(job, type_, reason, message, component=COMPONENT)
