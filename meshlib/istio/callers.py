"""Clients inside the cluster: a pod with curl, with or without a sidecar, asked through the API server.

What `kubectl exec deploy/<name> -- curl …` does, with the answer taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.istio import objects
from meshlib.istio.objects import Obj
from meshlib.istio.site import Site
from meshlib.kube.client import Cluster
from meshlib.probe import Evidence

CONTAINER = "curl"
MARK = "#answer"
WRITE_OUT = rf"\n{MARK} %{{http_code}} %{{exitcode}} %{{time_total}} %{{errormsg}}\n"
_ANSWER = re.compile(rf"\n{MARK} (\d+) (\d+) ([\d.]+) ?(.*)\n")
LIMIT_S = 5
STREAK = 5


@dataclass(frozen=True)
class Answer:
    """What curl saw: `status` 0 and curl's own exit code and words when no HTTP answer came."""

    status: int
    error_code: int
    ms: float
    error: str
    text: str


@dataclass(frozen=True)
class Caller:
    """A Deployment with one curl pod, and the server (`http://name[:port]`) that it asks."""

    cluster: Cluster
    namespace: str
    name: str
    server: str

    def get(self, path: str, *flags: str) -> Answer:
        """One request from the pod; further `flags` as curl takes them."""
        return self._asked([path], flags)[-1]

    def until(self, path: str, wanted: Callable[[Answer], bool], *, timeout_s: float) -> Answer:
        """Ask until `STREAK` answers in a row are as wanted (why so many: `convergence.until`).

        Raises `WaitTimeout` with the last one that was not.
        """

        def probe() -> Answer:
            answers = self._asked([path] * STREAK, ())
            if others := [each for each in answers if not wanted(each)]:
                raise wait.NotYet(said(others[-1]))
            return answers[-1]

        what = f"another answer of {self.server}{path} to {self.name}"
        return wait.until(probe, what, timeout_s=timeout_s)

    def _asked(self, paths: list[str], flags: Sequence[str]) -> list[Answer]:
        urls = [self.server + path for path in paths]
        argv = ["curl", "-sS", "-m", str(LIMIT_S), "-w", WRITE_OUT, *flags, *urls]
        done = self.cluster.execute(self._pod(), self.namespace, argv, container=CONTAINER)
        return parsed(done.out, done.code, done.err)

    def command(self, path: str, *flags: str) -> str:
        """The same by hand."""
        words = " ".join([*flags, self.server + path])
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


def parsed(out: str, code: int, err: str) -> list[Answer]:
    """Pure: the answers in curl's output; one without the mark (curl did not get that far) from its exit
    code.
    """
    found, start = [], 0
    for mark in _ANSWER.finditer(out):
        body = out[start : mark.start()]
        found.append(Answer(int(mark[1]), int(mark[2]), float(mark[3]) * 1000, mark[4], body))
        start = mark.end()
    return found or [Answer(0, code, 0.0, err.strip(), "")]


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


def said(seen: Answer | Evidence) -> str:
    """An answer in a few words: the status, with the body where it says why not, or curl's error."""
    if seen.error_code:
        return f"curl: ({seen.error_code}) {seen.error}"
    text = seen.text.strip()
    return f"{seen.status} {text}" if seen.status >= 400 and 0 < len(text) < 80 else str(seen.status)


def answers(clients: Mapping[str, Caller | Site], path: str) -> dict[str, str]:
    """What each client gets for `path`, in words."""
    return {name: said(client.get(path)) for name, client in clients.items()}


def table(answers: Mapping[str, str], *, of: str = "Client") -> pd.DataFrame:
    """Answers as a table: the column `of`, Answer."""
    return pd.DataFrame(list(answers.items()), columns=[of, "Answer"])
