"""The scheduler: which pending pod goes to the one node, and why another does not. Deciding is pure."""

from __future__ import annotations

import logging
import time

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.selectors import Requirement
from meshlib.lab.kubelet import podspec
from meshlib.lab.kubelet.context import NODE_NAME, Context, Obj
from meshlib.lab.kubelet.status import rfc3339

log = logging.getLogger(__name__)

SCHEDULER = "default-scheduler"


def obstacle(pod: Obj, node: Obj, bound: list[Obj]) -> str | None:
    """Why `pod` does not fit on `node` beside the `bound` pods, in a scheduler's words; None where it
    fits.
    """
    selector = pod["spec"].get("nodeSelector") or {}
    labels = node["metadata"].get("labels") or {}
    if not selector.items() <= labels.items() or not _wants(pod, node):
        return "1 node(s) didn't match Pod's node affinity/selector"
    if (node.get("spec") or {}).get("unschedulable"):
        return "1 node(s) were unschedulable"
    capacity = node["status"]["allocatable"]
    if len(bound) >= podspec.quantity(capacity["pods"]):
        return "1 Too many pods"
    for resource in ("cpu", "memory"):
        used = sum(podspec.requested(each, resource) for each in bound)
        if used + podspec.requested(pod, resource) > podspec.quantity(capacity[resource]):
            return f"1 Insufficient {resource}"
    return None


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def _wants(pod: Obj, node: Obj) -> bool:
    """Whether one of the terms of the pod's required node affinity takes the node; a term without
    requirements takes none.
    """
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"].get("name", "")}
    for term in required.get("nodeSelectorTerms") or []:
        wanted = [
            Requirement(each["key"], _OPERATORS[each["operator"]], frozenset(each.get("values") or [])).holds(
                have
            )
            for part, have in (("matchExpressions", labels), ("matchFields", fields))
            for each in term.get(part) or []
        ]
        if wanted and all(wanted):
            return True
    return False


class Scheduler:
    """Binds pods that name the default scheduler; tries those that did not fit again when a pod ends."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def run(self) -> None:
        with self.context.registry.subscribe("pods") as events:
            async for event in events:
                if event.type == "DELETED" or (event.object.get("status") or {}).get("phase") in (
                    "Succeeded",
                    "Failed",
                ):
                    for pod in self.context.registry.list("pods"):
                        await self._try(pod)
                else:
                    await self._try(event.object)

    async def _try(self, pod: Obj) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        if (
            spec.get("nodeName")
            or "deletionTimestamp" in meta
            or spec.get("schedulerName", SCHEDULER) != SCHEDULER
            or spec.get("schedulingGates")
        ):
            return
        try:
            await self._bind(pod)
        except StatusError as error:
            if error.status not in (404, 409):
                log.warning("pod %s/%s cannot be bound: %s", meta["namespace"], meta["name"], error)

    async def _bind(self, pod: Obj) -> None:
        registry = self.context.registry
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        node = registry.get("nodes", None, NODE_NAME)
        bound = [
            each
            for each in registry.list("pods")
            if each["spec"].get("nodeName")
            and (each.get("status") or {}).get("phase") in ("Pending", "Running")
        ]
        why = obstacle(pod, node, bound)
        if why is None:

            def bind(live: Obj) -> None:
                live["spec"]["nodeName"] = NODE_NAME

            await registry.modify("pods", namespace, name, bind, subresource="binding", manager=SCHEDULER)
            message = f"Successfully assigned {namespace}/{name} to {NODE_NAME}"
            await registry.event(pod, "Normal", "Scheduled", message, component=SCHEDULER)
            return
        message = f"0/1 nodes are available: {why}."
        now = rfc3339(time.time())
        refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}

        def refuse(live: Obj) -> None:
            before = (live.get("status") or {}).get("conditions") or []
            same = next((each for each in before if each["type"] == "PodScheduled"), None)
            if same is None or same.get("message") != message:
                kept = [each for each in before if each["type"] != "PodScheduled"]
                live["status"] = {
                    **(live.get("status") or {}),
                    "conditions": [*kept, {**refusal, "lastProbeTime": None, "lastTransitionTime": now}],
                }

        after = await registry.modify(
            "pods", namespace, name, refuse, subresource="status", manager=SCHEDULER
        )
        if after["metadata"]["resourceVersion"] != pod["metadata"]["resourceVersion"]:
            await registry.event(pod, "Warning", "FailedScheduling", message, component=SCHEDULER)
