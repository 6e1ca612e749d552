"""Deployments: the writing that `rollout` and `progress` decide on."""

from __future__ import annotations

import time
from collections.abc import Iterable

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Event
from meshlib.lab.controllers import progress, rollout
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

COMPONENT = "deployment-controller"


class Deployments(Controller):
    name = "deployment"
    watches = ("deployments.apps", "replicasets.apps", "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.resource == "deployments.apps":
            return [key_of(event.object)]
        if event.resource == "replicasets.apps":
            return owner_key(event.object, "Deployment") or self._adopters(event)
        if event.type != "DELETED":
            return []
        # A pod's end matters to Recreate, which waits for it.
        namespace = event.object["metadata"]["namespace"]
        for key in owner_key(event.object, "ReplicaSet"):
            if replica_set := self.find("replicasets.apps", key):
                return [Key(namespace, each.name) for each in owner_key(replica_set, "Deployment")]
        return []

    def _adopters(self, event: Event) -> Iterable[Key]:
        if event.type == "DELETED":
            return []
        labels = event.object["metadata"].get("labels")
        found = self.registry.list("deployments.apps", event.object["metadata"]["namespace"])
        return [key_of(each) for each in found if matches(each["spec"]["selector"], labels)]

    async def reconcile(self, key: Key) -> float | None:
        deployment = self.find("deployments.apps", key)
        if deployment is None or deleting(deployment):
            return None
        sets = await self._owned(deployment)
        step = rollout.decide(deployment, sets, self._old_pods_running(deployment, sets))
        await self._write(deployment, step)
        deployment = self.find("deployments.apps", key)
        if deployment is None:
            return None
        sets = await self._owned(deployment)
        wanted, again_s = progress.status(deployment, sets, step, time.time())
        known = (deployment["metadata"].get("annotations") or {}).get(rollout.REVISION)
        if wanted != deployment.get("status") or (step.revision and step.revision != known):

            def change(live: Obj) -> None:
                # With the status, as the real controller does: so written it makes no new generation.
                live["status"] = wanted
                if step.revision:
                    notes = live["metadata"].get("annotations") or {}
                    live["metadata"]["annotations"] = {**notes, rollout.REVISION: step.revision}

            await self.registry.modify(
                "deployments.apps", key.namespace, key.name, change, subresource="status", manager=COMPONENT
            )
        return again_s

    async def _owned(self, deployment: Obj) -> list[Obj]:
        """The Deployment's ReplicaSets; those without an owner that fit are taken over."""
        namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
        result = []
        for each in self.registry.list("replicasets.apps", namespace):
            owner = controller_of(each)
            if owner is None and matches(deployment["spec"]["selector"], each["metadata"].get("labels")):
                if deleting(each):
                    continue

                def adopt(live: Obj) -> None:
                    refs = live["metadata"].get("ownerReferences") or []
                    live["metadata"]["ownerReferences"] = [*refs, reference(deployment)]

                each = await self.registry.modify("replicasets.apps", *key_of(each), adopt, manager=COMPONENT)
                result.append(each)
            elif owner and owner["uid"] == uid:
                result.append(each)
        return result

    def _old_pods_running(self, deployment: Obj, sets: list[Obj]) -> bool:
        new = rollout.newest(deployment, sets)
        old = {each["metadata"]["uid"] for each in sets if new is None or each is not new}
        for pod in self.registry.list("pods", deployment["metadata"]["namespace"]):
            owner = controller_of(pod)
            phase = (pod.get("status") or {}).get("phase")
            if owner and owner["uid"] in old and phase not in ("Succeeded", "Failed"):
                return True
        return False

    async def _write(self, deployment: Obj, step: rollout.Step) -> None:
        namespace = deployment["metadata"]["namespace"]
        for set_name, wanted in step.annotate.items():
            size = next((size for each, size in step.scale if each["metadata"]["name"] == set_name), None)

            def annotate(live: Obj, more: dict[str, str] = wanted, size: int | None = size) -> None:
                live["metadata"]["annotations"] = {
                    **(live["metadata"].get("annotations") or {}),
                    **more,
                }
                if size is not None:
                    live["spec"]["replicas"] = size

            await self.registry.modify("replicasets.apps", namespace, set_name, annotate, manager=COMPONENT)
        for replica_set, size in step.scale:
            if replica_set["metadata"]["name"] not in step.annotate:

                def resize(live: Obj, size: int = size) -> None:
                    live["spec"]["replicas"] = size

                await self.registry.modify(
                    "replicasets.apps", *key_of(replica_set), resize, manager=COMPONENT
                )
        if step.create is not None:
            await self._create(deployment, step.create)
        for replica_set in step.delete:
            uid = replica_set["metadata"]["uid"]
            await self.registry.delete("replicasets.apps", *key_of(replica_set), uid=uid)
        for reason, message in step.events:
            await self.registry.event(deployment, "Normal", reason, message, component=COMPONENT)

    async def _create(self, deployment: Obj, replica_set: Obj) -> None:
        """Create the ReplicaSet; where its name is another template's, the next hash counts a collision."""
        namespace, name = key_of(deployment)
        try:
            await self.registry.create("replicasets.apps", namespace, replica_set, manager=COMPONENT)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

            def collide(live: Obj) -> None:
                status = live.setdefault("status", {})
                status["collisionCount"] = int(status.get("collisionCount") or 0) + 1

            await self.registry.modify(
                "deployments.apps", namespace, name, collide, subresource="status", manager=COMPONENT
            )
            raise
