"""Load from inside a cluster, beyond one machine: a plan as an indexed Job, its pods started at one moment.

The pods wait until all of them run; then an annotation tells each the common start. Their clocks have to
agree with this machine's: a pod whose clock is ahead says that it began late.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

from meshlib import wait
from meshlib.errors import ClusterError, MeshlibError, ParameterError, Unsupported
from meshlib.istio import needs
from meshlib.kube import guard
from meshlib.kube.client import Cluster
from meshlib.load import job
from meshlib.load.plan import Plan
from meshlib.load.result import LoadResult

Obj = dict[str, Any]

IMAGE = "meshlib:latest"  # the default of `meshlib schedule cronjob --image` too
STUCK = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)
BUILD = "push an image that holds Python and meshlib, and name it with --job-image"
TAIL = 50  # lines of a pod's log that are read; its report is the last one


@dataclass(frozen=True)
class LoadJob:
    """Where a plan runs as a Job: to be given to `load.run(…, workers=N, on=LoadJob(cluster, namespace))`.

    `lead_s` is the time between the moment when all pods run and their common start: in it the kubelet shows
    the annotation to the pod, which takes a second or two on a real node.
    """

    cluster: Cluster
    namespace: str
    image: str = IMAGE
    lead_s: float = 5.0
    patience_s: float = 180.0  # until all pods run

    def __call__(self, plan: Plan) -> LoadResult:
        """Run it and take everything away again. Ctrl-C ends it early with what was measured.

        Raises `ParameterError` for a plan that no Job can hold, `Unsupported` with the reason where the
        cluster cannot run one, `MeshlibError` with the end of its log when a worker fails.
        """
        if found := job.findings(plan):
            raise ParameterError(found)
        self._may(plan)
        name = f"meshlib-load-{secrets.token_hex(3)}"
        lasts_s = (
            (plan.open_s if plan.is_open else plan.duration_s or 86_400.0) + plan.timeout_s + self.lead_s
        )
        wanted = job.job(plan, name, self.namespace, self.image, limit_s=self.patience_s + lasts_s + 120)
        try:
            self._create(plan, wanted)
            pods = self._running(name, plan.workers)
            self._annotate(pods, job.START_AT, f"{time.time() + self.lead_s:.3f}")
            try:
                self._ended(name, lasts_s + 60)
            except KeyboardInterrupt:
                self._annotate(pods, job.STOP, "asked")
                self._ended(name, 60)
            return job.result(plan, [self._report(pod) for pod in self._pods(name)])
        finally:
            with contextlib.suppress(ClusterError):  # the Job's time to live takes what stays
                self.cluster.delete("jobs.batch", name, self.namespace)

    def _may(self, plan: Plan) -> None:
        table = {**needs.LOAD_JOB, **(needs.LOAD_JOB_CERTIFICATE if plan.cert else {})}
        asked = [(verb, resource, self.namespace) for resource, verbs in table.items() for verb in verbs]
        found = guard.may(self.cluster, asked)
        refused = found[~found["Allowed"]]
        if len(refused):
            missing = ", ".join(
                f"{verb} {what}" for verb, what in zip(refused["Verb"], refused["Resource"], strict=True)
            )
            raise Unsupported(
                f"a load Job in {self.namespace} needs rights that you do not have there: {missing}",
                fix=f"kubectl auth can-i create jobs -n {self.namespace}",
            )

    def _create(self, plan: Plan, wanted: Obj) -> None:
        try:
            made = self.cluster.create(wanted)
        except ClusterError as error:
            raise Unsupported(f"this cluster does not take the load Job: {error.message}") from error
        if made["spec"].get("completionMode") != "Indexed":
            raise Unsupported("this cluster knows no indexed Jobs (Kubernetes 1.24 and later do)")
        for each in job.belongings(plan, made):
            self.cluster.create(each)

    def _pods(self, name: str) -> list[Obj]:
        return self.cluster.list("pods", self.namespace, labels=f"job-name={name}")

    def _running(self, name: str, count: int) -> list[str]:
        """The names of the pods, once all of them run."""

        def all_run() -> list[str]:
            pods = self._pods(name)
            states = {pod["metadata"]["name"]: state_of(pod) for pod in pods}
            for pod, (reason, message) in states.items():
                if reason in STUCK:
                    raise Unsupported(f"{pod} cannot run {self.image}: {reason}: {message}", fix=BUILD)
                if reason in ("Failed", "Succeeded"):
                    raise MeshlibError(f"{pod} ended before the start: {message or reason}: {self._log(pod)}")
            if len(states) == count and all(reason == "Running" for reason, _ in states.values()):
                return list(states)
            waiting = [f"{pod}: {' '.join(state)}" for pod, state in states.items() if state[0] != "Running"]
            raise wait.NotYet("; ".join(waiting[:3]) or f"{len(states)} of {count} pods are there")

        fix = f"kubectl get pods,events -n {self.namespace}"
        return wait.until(all_run, f"the {count} workers of {name}", timeout_s=self.patience_s, fix=fix)

    def _annotate(self, pods: list[str], name: str, value: str) -> None:
        change = {"metadata": {"annotations": {name: value}}}
        for pod in pods:
            self.cluster.merge("pods", pod, change, self.namespace, manager="meshlib")

    def _ended(self, name: str, timeout_s: float) -> None:
        def complete() -> None:
            status = self.cluster.get("jobs.batch", name, self.namespace).get("status") or {}
            true = {each["type"]: each for each in status.get("conditions") or [] if each["status"] == "True"}
            if failed := true.get("Failed"):
                logs = [
                    self._log(pod["metadata"]["name"])
                    for pod in self._pods(name)
                    if state_of(pod)[0] == "Failed"
                ]
                raise MeshlibError(
                    f"the load Job failed: {failed['message']}: {logs[0] if logs else 'no log'}"
                )
            if "Complete" not in true:
                raise wait.NotYet(f"{status.get('succeeded', 0)} workers are done")

        wait.until(complete, f"the load Job {name}", timeout_s=timeout_s, interval_s=0.2)

    def _report(self, pod: Obj) -> job.Report:
        name = pod["metadata"]["name"]
        found = job.report_of(self._log(name))
        if found is None:
            raise MeshlibError(f"the log of {name} ends without a report: {self._log(name)}")
        return found

    def _log(self, pod: str) -> str:
        return self.cluster.logs(pod, self.namespace, container=job.CONTAINER, tail=TAIL)


def state_of(pod: Obj) -> tuple[str, str]:
    """What the pod is doing, in one word as its container says it, and the message with it."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return str(status["phase"]), str(status.get("message", ""))
    for container in status.get("containerStatuses") or []:
        state = container.get("state") or {}
        if waiting := state.get("waiting"):
            return str(waiting.get("reason", "Waiting")), str(waiting.get("message", ""))
        if "running" in state:
            return "Running", ""
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason", "Pending")), str(condition.get("message", ""))
    return "Pending", ""
