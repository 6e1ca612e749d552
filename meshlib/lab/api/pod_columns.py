"""The columns of a pod, which say more than its fields do.  Pure."""

from __future__ import annotations

from typing import Any

from .age import age
from .store import Obj

_DONE = {
    "Succeeded": ("Succeeded", "The pod has completed successfully."),
    "Failed": ("Failed", "The pod failed."),
}


def conditions(pod: Obj) -> list[Obj]:
    """The row condition of a pod that is over."""
    phase = (pod.get("status") or {}).get("phase")
    if phase not in _DONE:
        return []
    reason, message = _DONE[phase]
    return [{"type": "Completed", "status": "True", "reason": reason, "message": message}]


def pod_cells(pod: Obj) -> list[Any]:
    """Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    summary = _Summary(spec, status)
    reason = summary.reason
    if "deletionTimestamp" in meta:
        reason = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({age(summary.last_restart)} ago)"
    gates = spec.get("readinessGates") or []
    true = {each["type"] for each in status.get("conditions") or [] if each.get("status") == "True"}
    met = sum(1 for each in gates if each.get("conditionType") in true)
    return [
        meta["name"],
        f"{summary.ready}/{summary.total}",
        reason,
        restarts,
        age(meta.get("creationTimestamp")),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        f"{met}/{len(gates)}" if gates else "<none>",
    ]


class _Summary:
    """Reason, restarts and readiness over all containers; restartable init containers count too."""

    def __init__(self, spec: Obj, status: Obj) -> None:
        init = spec.get("initContainers") or []
        self._sidecars = {each["name"] for each in init if each.get("restartPolicy") == "Always"}
        self._init_total = len(init)
        self.total = len(spec.get("containers") or []) + len(self._sidecars)
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""
        self._sidecar_restarts = 0
        self._sidecar_last = ""
        self.reason = status.get("reason") or status.get("phase", "")
        initialized = any(
            each["type"] == "Initialized" and each["status"] == "True"
            for each in status.get("conditions") or []
        )
        if not self._initializing(status) or initialized:
            self._running(status)

    def _initializing(self, status: Obj) -> bool:
        for index, each in enumerate(status.get("initContainerStatuses") or []):
            state = each.get("state") or {}
            self.restarts += each.get("restartCount", 0)
            self.last_restart = max(self.last_restart, _ended(each))
            sidecar = each["name"] in self._sidecars
            if sidecar:
                self._sidecar_restarts += each.get("restartCount", 0)
                self._sidecar_last = max(self._sidecar_last, _ended(each))
            terminated, waiting = state.get("terminated"), state.get("waiting") or {}
            if terminated and terminated.get("exitCode") == 0:
                continue
            if sidecar and each.get("started"):
                self.ready += bool(each.get("ready"))
                continue
            if terminated:
                self.reason = f"Init:{_terminated(terminated)}"
            elif waiting.get("reason", "PodInitializing") != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{self._init_total}"
            return True
        return False

    def _running(self, status: Obj) -> None:
        self.restarts, self.last_restart = self._sidecar_restarts, self._sidecar_last
        running = False
        for each in reversed(status.get("containerStatuses") or []):
            state = each.get("state") or {}
            self.restarts += each.get("restartCount", 0)
            self.last_restart = max(self.last_restart, _ended(each))
            if (state.get("waiting") or {}).get("reason"):
                self.reason = state["waiting"]["reason"]
            elif terminated := state.get("terminated"):
                self.reason = _terminated(terminated)
            elif each.get("ready") and "running" in state:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            ready = any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in status.get("conditions") or []
            )
            self.reason = "Running" if ready else "NotReady"


def _terminated(state: Obj) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _ended(container: Obj) -> str:
    last = (container.get("lastState") or {}).get("terminated") or {}
    return str(last.get("finishedAt") or "")
