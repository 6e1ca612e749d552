"""Objects that live only as long as a notebook needs them, so that the cluster is left as it was found.

Everything of a trial carries the label `meshlib.dev/trial: <name>`.  What is left of it is deleted when the
notebook's process ends, by itself or by a watcher (`afterwards`) where it was killed; should both be killed,
then when the trial is opened again.
"""

from __future__ import annotations

import atexit
import copy
import subprocess

import pandas as pd

from meshlib.errors import ClusterError
from meshlib.istio import afterwards
from meshlib.istio.objects import Obj
from meshlib.kube import apply
from meshlib.kube.client import Cluster
from meshlib.parameters import Config

LABEL = "meshlib.dev/trial"
KINDS = (*apply.RULES_AND_RULED, "serviceaccounts")
"""What a trial may hold in the workload's namespace, in the order in which it is deleted.  In the namespace
of Istio it may hold Secrets."""


def labelled(obj: Obj, name: str) -> Obj:
    """Pure: a copy of `obj` with the trial's label."""
    marked = copy.deepcopy(obj)
    meta = marked["metadata"]
    meta["labels"] = {**meta.get("labels", {}), LABEL: name}
    return marked


class Trial:
    """The temporary objects of one notebook."""

    def __init__(self, cluster: Cluster, cfg: Config, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self._places = [(kind, cfg.namespace) for kind in KINDS] + [("secrets", cfg.istio_namespace)]
        self._timeout_s = cfg.timeout_s
        self._watcher: subprocess.Popen[bytes] | None = None

    def apply(self, *objects: Obj) -> pd.DataFrame:
        """Apply objects; columns as in `kube.apply.apply`."""
        return apply.apply(self.cluster, [labelled(obj, self.name) for obj in objects])

    def undo(self, *objects: Obj) -> pd.DataFrame:
        """Delete these objects and wait until they are gone."""
        wanted = {
            (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) for obj in objects
        }
        found = self.left()
        chosen = [key in wanted for key in zip(found["Kind"], found["Namespace"], found["Name"], strict=True)]
        return self._delete(found[chosen])

    def end(self) -> pd.DataFrame:
        """Delete everything of this trial, whoever started it, and wait until it is gone."""
        removed = self._delete(self.left())
        if self._watcher is not None:
            afterwards.stop(self._watcher)
            self._watcher = None
        return removed

    def watch(self, cfg: Config) -> None:
        """Have everything deleted when this process ends, even by a kill, unless `end` was called."""
        self._watcher = afterwards.start(self.name, cfg.as_dict())
        atexit.register(self.end)

    def left(self) -> pd.DataFrame:
        """What is there with the trial's label: Resource, Kind, Namespace, Name, UID."""
        rows = []
        for name, namespace in self._places:
            try:
                listed = self.cluster.list(name, namespace, labels=f"{LABEL}={self.name},{apply.OURS}")
            except ClusterError as error:
                if error.status != 404:
                    raise
                continue
            kind = self.cluster.resource(name).kind
            rows += [
                (name, kind, namespace, each["metadata"]["name"], each["metadata"]["uid"]) for each in listed
            ]
        return pd.DataFrame(rows, columns=["Resource", "Kind", "Namespace", "Name", "UID"])

    def _delete(self, found: pd.DataFrame) -> pd.DataFrame:
        return apply.delete(self.cluster, found, timeout_s=self._timeout_s).drop(columns="Resource")


def begin(cluster: Cluster, cfg: Config, name: str) -> Trial:
    """Open a trial: leftovers of an earlier run go now, its own when this process ends, even by a kill."""
    trial = Trial(cluster, cfg, name)
    trial.end()
    trial.watch(cfg)
    return trial
