"""PodDisruptionBudgets: the status that evictions are decided by. Deciding is pure."""

from __future__ import annotations

import time
from collections.abc import Iterable

from meshlib.lab.api.registry import Event
from meshlib.lab.controllers import pods
from meshlib.lab.controllers.queue import Controller, Key, Obj, controller_of, deleting, key_of
from meshlib.lab.controllers.rollout import bound
from meshlib.lab.controllers.selectors import matches
from meshlib.lab.kubelet.status import rfc3339

COMPONENT = "disruption-controller"


def status(budget: Obj, members: list[Obj], expected: int, now_s: float) -> Obj:
    """The status of a budget over its `members`, when their controllers want `expected` pods."""
    spec = budget["spec"]
    healthy = sum(pods.is_ready(pod) and not deleting(pod) for pod in members)
    if spec.get("maxUnavailable") is not None:
        desired = max(expected - bound(spec["maxUnavailable"], expected, up=True), 0)
    else:
        desired = bound(spec.get("minAvailable", 1), expected, up=True)
    allowed = max(healthy - desired, 0) if expected else 0
    before = pods.condition(budget, "DisruptionAllowed")
    value = "True" if allowed else "False"
    same = before is not None and before["status"] == value
    return {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation", 1),
        "conditions": [
            {
                "type": "DisruptionAllowed",
                "status": value,
                "observedGeneration": budget["metadata"].get("generation", 1),
                "lastTransitionTime": before["lastTransitionTime"] if same and before else rfc3339(now_s),
                "reason": "SufficientPods" if allowed else "InsufficientPods",
                "message": "",
            }
        ],
    }


class Budgets(Controller):
    name = "disruption"
    watches = ("poddisruptionbudgets.policy", "pods", "replicasets.apps")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.resource == "poddisruptionbudgets.policy":
            return [key_of(event.object)]
        namespace = event.object["metadata"]["namespace"]
        labels = event.object["metadata"].get("labels")
        found = self.registry.list("poddisruptionbudgets.policy", namespace)
        return [key_of(each) for each in found if matches(each["spec"].get("selector"), labels)]

    async def reconcile(self, key: Key) -> None:
        budget = self.find("poddisruptionbudgets.policy", key)
        if budget is None or deleting(budget):
            return
        found = self.registry.list("pods", key.namespace)
        members = [
            pod
            for pod in found
            if pods.is_active(pod) and matches(budget["spec"].get("selector"), pod["metadata"].get("labels"))
        ]
        wanted = status(budget, members, self._expected(key.namespace, members), time.time())
        if wanted != budget.get("status"):

            def change(live: Obj) -> None:
                live["status"] = wanted

            await self.registry.modify(
                "poddisruptionbudgets.policy", *key, change, subresource="status", manager=COMPONENT
            )

    def _expected(self, namespace: str, members: list[Obj]) -> int:
        """What the controllers of the pods want in all; a pod without one counts as itself."""
        total, seen = 0, set()
        for pod in members:
            owner = controller_of(pod)
            if owner is None or owner["kind"] != "ReplicaSet":
                total += 1
            elif owner["uid"] not in seen:
                seen.add(owner["uid"])
                replica_set = self.find("replicasets.apps", Key(namespace, owner["name"]))
                total += int(replica_set["spec"].get("replicas", 1)) if replica_set else 0
        return total
