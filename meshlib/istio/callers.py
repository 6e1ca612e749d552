"""Clients inside the cluster: a pod with curl, with or without a sidecar, asked through the API server.

What `kubectl exec deploy/<name> -- curl …` does, with the answer taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.istio import objects
from meshlib.istio.objects import Obj
from meshlib.kube.client import Cluster

CONTAINER = "curl"
MARK = "#answer"
WRITE_OUT = rf"\n{MARK} %{{http_code}} %{{exitcode}} %{{time_total}} %{{errormsg}}\n"
_ANSWER = re.compile(rf"\n{MARK} (\d+) (\d+) ([\d.]+) ?(.*)\n")
LIMIT_S = 5


@dataclass(frozen=True)
class Answer:
    """What curl saw: `status` 0 and curl's own exit code and words when no HTTP answer came."""

    status: int
    exit_code: int
    ms: float
    error: str
    body: str

    @property
    def outcome(self) -> str:
        """The status with a short body, or why there is none."""
        if self.exit_code:
            return f"curl: ({self.exit_code}) {self.error}"
        text = self.body.strip()
        return f"{self.status} {text}" if self.status >= 400 and len(text) < 80 else str(self.status)


@dataclass(frozen=True)
class Caller:
    """A Deployment with one curl pod."""

    cluster: Cluster
    namespace: str
    name: str

    def ask(self, url: str, *flags: str) -> Answer:
        """One request from the pod; further `flags` as curl takes them."""
        argv = ["curl", "-sS", "-m", str(LIMIT_S), "-w", WRITE_OUT, *flags, url]
        done = self.cluster.execute(self._pod(), self.namespace, argv, container=CONTAINER)
        return parsed(done.out, done.code, done.err)

    def until(self, url: str, wanted: Callable[[Answer], bool], *flags: str, timeout_s: float) -> Answer:
        """Ask until the answer is as wanted.  Raises `WaitTimeout` with the last one."""

        def probe() -> Answer:
            answer = self.ask(url, *flags)
            if not wanted(answer):
                raise wait.NotYet(answer.outcome)
            return answer

        return wait.until(probe, f"another answer of {url} to {self.name}", timeout_s=timeout_s)

    def command(self, url: str, *flags: str) -> str:
        """The same by hand."""
        words = " ".join([*flags, url])
        return f"kubectl exec -n {self.namespace} deploy/{self.name} -c {CONTAINER} -- curl -sS {words}"

    def _pod(self) -> str:
        labels, fields = f"app={self.name}", "status.phase=Running"
        found = self.cluster.list("pods", self.namespace, labels=labels, fields=fields)
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        if not alive:
            raise ClusterError(
                f"no running pod of deployment {self.namespace}/{self.name}",
                fix=f"kubectl describe deploy/{self.name} -n {self.namespace}",
            )
        return str(alive[0]["metadata"]["name"])


def parsed(out: str, code: int, err: str) -> Answer:
    """Pure: an answer from curl's output; without the mark (curl did not get that far) from its exit code."""
    if found := _ANSWER.search(out):
        return Answer(int(found[1]), int(found[2]), float(found[3]) * 1000, found[4], out[: found.start()])
    return Answer(0, code, 0.0, err.strip(), "")


def deployment(name: str, namespace: str, *, image: str, sidecar: bool) -> list[Obj]:
    """Pure: a service account and a pod with curl that waits to be told; `sidecar` puts it into the mesh.

    The app starts only once its proxy does, where the proxy is no native sidecar.
    """
    labels = {"app": name, "sidecar.istio.io/inject": str(sidecar).lower()}
    container: Obj = {
        "name": CONTAINER,
        "image": image,
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: Obj = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    annotations = {"proxy.istio.io/config": '{"holdApplicationUntilProxyStarts": true}'}
    meta = {"labels": labels, **({"annotations": annotations} if sidecar else {})}
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": meta, "spec": pod},
        },
    }
    return [objects.service_account(name, namespace), made]


def table(answers: dict[str, Answer]) -> pd.DataFrame:
    """Who asked what, and what came: Request, Answer."""
    rows = [(who, answer.outcome) for who, answer in answers.items()]
    return pd.DataFrame(rows, columns=["Request", "Answer"])
