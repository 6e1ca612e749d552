"""Pure: the states of a pod's containers in, the pod's status as a kubelet reports it out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.kubelet.podspec import containers, init_containers, is_sidecar, qos_class

Obj = dict[str, Any]


@dataclass
class ContainerFacts:
    """What the kubelet knows of one container; `state` and `last_state` as in a ContainerStatus."""

    state: Obj
    last_state: Obj = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """Of a container that has ended and is not waiting to start again."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])


@dataclass
class PodFacts:
    host_ip: str
    pod_ip: str
    started_at: str
    containers: dict[str, ContainerFacts]
    failed: tuple[str, str] | None = None  # reason and message of a pod that the kubelet itself gave up


def rfc3339(epoch_s: float) -> str:
    """Whole seconds, as `metav1.Time` writes them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s))


def phase(pod: Obj, facts: PodFacts) -> str:
    """Pending, Running, Succeeded or Failed, by the rules of the kubelet's getPhase."""
    if facts.failed:
        return "Failed"
    policy = pod["spec"].get("restartPolicy", "Always")
    for each in init_containers(pod):
        found = facts.containers[each["name"]]
        if is_sidecar(each):
            if not found.started:
                return "Pending"
        elif found.exit_code is None:
            return "Pending"
        elif found.exit_code != 0:
            return "Failed" if policy == "Never" else "Pending"
    apps = [facts.containers[each["name"]] for each in containers(pod)]
    if any("waiting" in each.state and not each.last_state for each in apps):
        return "Pending"
    if policy == "Always" or any(each.exit_code is None for each in apps):
        return "Running"
    if all(each.exit_code == 0 for each in apps):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def pod_status(pod: Obj, facts: PodFacts, now_s: float) -> Obj:
    """The whole status to write; conditions that did not change keep their times."""
    before = pod.get("status") or {}
    status: Obj = {
        "phase": phase(pod, facts),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": facts.started_at,
        "qosClass": before.get("qosClass") or qos_class(pod),
    }
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    if facts.failed:
        status["reason"], status["message"] = facts.failed
    if inits := init_containers(pod):
        status["initContainerStatuses"] = [_container(each, facts.containers[each["name"]]) for each in inits]
    status["containerStatuses"] = [
        _container(each, facts.containers[each["name"]]) for each in containers(pod)
    ]
    status["conditions"] = _conditions(pod, facts, status["phase"], before.get("conditions") or [], now_s)
    return status


def _container(spec: Obj, facts: ContainerFacts) -> Obj:
    return {
        "name": spec["name"],
        "image": spec.get("image", ""),
        "imageID": f"meshlib-lab://{spec.get('image', '')}" if facts.container_id else "",
        "state": facts.state,
        "lastState": facts.last_state,
        "ready": facts.ready,
        "restartCount": facts.restarts,
        "started": facts.started,
        **({"containerID": facts.container_id} if facts.container_id else {}),
    }


def _conditions(pod: Obj, facts: PodFacts, phase_: str, before: list[Obj], now_s: float) -> list[Obj]:
    old = {each["type"]: each for each in before}
    done = phase_ in ("Succeeded", "Failed")
    waiting_inits = [
        each["name"]
        for each in init_containers(pod)
        if not (
            facts.containers[each["name"]].started
            if is_sidecar(each)
            else facts.containers[each["name"]].exit_code == 0
        )
    ]
    lasting = [*(each for each in init_containers(pod) if is_sidecar(each)), *containers(pod)]
    unready = [each["name"] for each in lasting if not facts.containers[each["name"]].ready]
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates") or []]
    shut = [name for name in gates if old.get(name, {}).get("status") != "True"]
    if done:
        all_ready: tuple[str, ...] = ("False", "PodCompleted" if phase_ == "Succeeded" else "PodFailed", "")
        initialized: tuple[str, ...] = ("True", "PodCompleted" if phase_ == "Succeeded" else "", "")
    else:
        named = f"containers with unready status: [{' '.join(unready)}]"
        all_ready = ("False", "ContainersNotReady", named) if unready else ("True", "", "")
        named = f"containers with incomplete status: [{' '.join(waiting_inits)}]"
        initialized = ("False", "ContainersNotInitialized", named) if waiting_inits else ("True", "", "")
    ready = all_ready
    if shut and all_ready[0] == "True":
        named = "; ".join(
            f'corresponding condition of pod readiness gate "{name}" does not exist.' for name in shut
        )
        ready = ("False", "ReadinessGatesNotReady", named)
    begun = any(each.state.keys() & {"running", "terminated"} for each in facts.containers.values())
    wanted = {
        "PodReadyToStartContainers": ("True" if begun and not done else "False", "", ""),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": all_ready,
        "PodScheduled": ("True", "", ""),
    }
    result = [_condition(old.get(type_), type_, *values, now_s=now_s) for type_, values in wanted.items()]
    return result + [each for each in before if each["type"] not in wanted]


def _condition(old: Obj | None, type_: str, status: str, reason: str, message: str, *, now_s: float) -> Obj:
    same = old is not None and old["status"] == status
    condition: Obj = {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if same and old else rfc3339(now_s),
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
