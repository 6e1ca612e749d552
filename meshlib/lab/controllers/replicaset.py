"""ReplicaSets: as many pods as wanted, and a status that counts them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Event
from meshlib.lab.controllers import pods
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
from meshlib.lab.controllers.selectors import matches
from meshlib.lab.kubelet.status import rfc3339

COMPONENT = "replicaset-controller"


@dataclass
class Plan:
    """What a ReplicaSet needs: pods to take over, to let go, to make, to delete."""

    adopt: list[Obj] = field(default_factory=list)
    release: list[Obj] = field(default_factory=list)
    create: int = 0
    delete: list[Obj] = field(default_factory=list)
    owned: list[Obj] = field(default_factory=list)


def plan(replica_set: Obj, found: Iterable[Obj]) -> Plan:
    """Decide, from the pods of the namespace, what a ReplicaSet needs. Pure."""
    result = Plan()
    uid = replica_set["metadata"]["uid"]
    for pod in found:
        owner = controller_of(pod)
        fits = matches(replica_set["spec"]["selector"], pod["metadata"].get("labels"))
        if owner and owner["uid"] == uid:
            if fits:
                result.owned.append(pod)
            elif not deleting(pod):
                result.release.append(pod)
        elif owner is None and fits and pods.is_active(pod) and not deleting(replica_set):
            result.adopt.append(pod)
    if deleting(replica_set):
        return result
    active = [pod for pod in result.owned if pods.is_active(pod)]
    wanted = replica_set["spec"].get("replicas", 1)
    have = len(active) + len(result.adopt)
    if have < wanted:
        result.create = wanted - have
    elif have > wanted:
        result.delete = sorted(active, key=pods.worth)[: have - wanted]
    return result


def status(replica_set: Obj, owned: list[Obj], failure: str | None, now_s: float) -> tuple[Obj, float | None]:
    """The status to write, and the seconds until another pod becomes available. Pure."""
    active = [pod for pod in owned if pods.is_active(pod)]
    spec = replica_set["spec"]
    template = (spec["template"]["metadata"].get("labels") or {}).items()
    waits = [pods.unavailable_for_s(pod, spec.get("minReadySeconds", 0), now_s) for pod in active]
    counts = {
        "fullyLabeledReplicas": sum(
            template <= (pod["metadata"].get("labels") or {}).items() for pod in active
        ),
        "readyReplicas": sum(wait is not None for wait in waits),
        "availableReplicas": sum(wait == 0 for wait in waits),
    }
    result: Obj = {"replicas": len(active), **{name: count for name, count in counts.items() if count}}
    if generation := replica_set["metadata"].get("generation"):
        result["observedGeneration"] = generation
    kept = list((replica_set.get("status") or {}).get("conditions") or [])
    before = next((each for each in kept if each["type"] == "ReplicaFailure"), None)
    kept = [each for each in kept if each["type"] != "ReplicaFailure"]
    if failure is not None:
        since = before["lastTransitionTime"] if before else rfc3339(now_s)
        kept.append(
            {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": since,
                "reason": "FailedCreate",
                "message": failure,
            }
        )
    if kept:
        result["conditions"] = kept
    return result, min((wait for wait in waits if wait), default=None)


def new_pod(replica_set: Obj) -> Obj:
    """A pod from the template."""
    template = deepcopy(replica_set["spec"]["template"])
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{key: meta[key] for key in ("labels", "annotations", "finalizers") if meta.get(key)},
            "generateName": f"{replica_set['metadata']['name']}-",
            "ownerReferences": [reference(replica_set)],
        },
        "spec": template["spec"],
    }


class ReplicaSets(Controller):
    name = "replicaset"
    watches = ("replicasets.apps", "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.resource == "replicasets.apps":
            return [key_of(event.object)]
        keys = set(owner_key(event.object, "ReplicaSet"))
        if event.old:
            keys |= set(owner_key(event.old, "ReplicaSet"))
        if controller_of(event.object) is None and event.type != "DELETED":
            keys |= {
                key_of(each)
                for each in self.registry.list("replicasets.apps", event.object["metadata"]["namespace"])
                if matches(each["spec"]["selector"], event.object["metadata"].get("labels"))
            }
        return keys

    async def reconcile(self, key: Key) -> float | None:
        replica_set = self.find("replicasets.apps", key)
        if replica_set is None:
            return None
        decided = plan(replica_set, self.registry.list("pods", key.namespace))
        failure = None
        for pod in decided.adopt:
            await self._refer(pod, replica_set, adopt=True)
        for pod in decided.release:
            await self._refer(pod, replica_set, adopt=False)
        try:
            for _ in range(decided.create):
                made = await self.registry.create(
                    "pods", key.namespace, new_pod(replica_set), manager=COMPONENT
                )
                await self._event(
                    replica_set, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}"
                )
        except StatusError as error:
            failure = error.message
            if not (error.status == 403 and "being terminated" in failure):
                await self._event(replica_set, "Warning", "FailedCreate", f"Error creating: {failure}")
        for pod in decided.delete:
            name = pod["metadata"]["name"]
            await self.registry.delete("pods", key.namespace, name, uid=pod["metadata"]["uid"])
            await self._event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {name}")
        owned = plan(replica_set, self.registry.list("pods", key.namespace)).owned
        wanted, again_s = status(replica_set, owned, failure, time.time())
        if wanted != replica_set.get("status"):

            def change(live: Obj) -> None:
                live["status"] = wanted

            await self.registry.modify(
                "replicasets.apps", key.namespace, key.name, change, subresource="status", manager=COMPONENT
            )
        return self.queue.retry(key) if failure is not None else again_s

    async def _refer(self, pod: Obj, replica_set: Obj, *, adopt: bool) -> None:
        uid = replica_set["metadata"]["uid"]

        def change(live: Obj) -> None:
            kept = [each for each in live["metadata"].get("ownerReferences") or [] if each["uid"] != uid]
            live["metadata"]["ownerReferences"] = [*kept, reference(replica_set)] if adopt else kept

        await self.registry.modify("pods", *key_of(pod), change, manager=COMPONENT)

    async def _event(self, replica_set: Obj, type_: str, reason: str, message: str) -> None:
        await self.registry.event(replica_set, type_, reason, message, component=COMPONENT)
