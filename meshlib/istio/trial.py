"""Objects that live only as long as a notebook needs them, so that the cluster is left as it was found.

Everything of a trial carries the label `meshlib.dev/trial: <name>`.  What an interrupted run left behind is
deleted when the trial is opened again; what this one leaves is deleted when its process ends.
"""

from __future__ import annotations

import atexit
import copy

import pandas as pd

from meshlib.errors import ClusterError
from meshlib.istio.objects import Obj
from meshlib.kube import apply
from meshlib.kube.client import Cluster

LABEL = "meshlib.dev/trial"
KINDS = (
    "authorizationpolicies.security.istio.io",
    "requestauthentications.security.istio.io",
    "peerauthentications.security.istio.io",
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
    "gateways.networking.istio.io",
    "deployments.apps",
    "services",
    "configmaps",
    "secrets",
    "serviceaccounts",
)
"""What a trial may hold, in the order in which it is deleted: rules first, what they rule last."""


def labelled(obj: Obj, name: str) -> Obj:
    """Pure: a copy of `obj` with the trial's label."""
    marked = copy.deepcopy(obj)
    meta = marked["metadata"]
    meta["labels"] = {**meta.get("labels", {}), LABEL: name}
    return marked


class Trial:
    """The temporary objects of one notebook in one namespace or several."""

    def __init__(self, cluster: Cluster, name: str, *, timeout_s: float) -> None:
        self.cluster = cluster
        self.name = name
        self.timeout_s = timeout_s

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
        return self._delete(self.left())

    def left(self) -> pd.DataFrame:
        """What is there with the trial's label: Resource, Kind, Namespace, Name, UID."""
        rows = []
        for name in KINDS:
            try:
                listed = self.cluster.list(name, labels=f"{LABEL}={self.name},{apply.OURS}")
            except ClusterError as error:
                if error.status != 404:
                    raise
                continue
            kind = self.cluster.resource(name).kind
            rows += [
                (
                    name,
                    kind,
                    obj["metadata"].get("namespace", ""),
                    obj["metadata"]["name"],
                    obj["metadata"]["uid"],
                )
                for obj in listed
            ]
        return pd.DataFrame(rows, columns=["Resource", "Kind", "Namespace", "Name", "UID"])

    def _delete(self, found: pd.DataFrame) -> pd.DataFrame:
        return apply.delete(self.cluster, found, timeout_s=self.timeout_s).drop(columns="Resource")


def begin(cluster: Cluster, name: str, *, timeout_s: float) -> Trial:
    """Open a trial: leftovers of an earlier run go now, its own at the end of this process."""
    trial = Trial(cluster, name, timeout_s=timeout_s)
    trial.end()
    atexit.register(trial.end)
    return trial
