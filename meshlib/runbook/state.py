"""What a cluster shows of the runbook's objects, before and after each step, and what an earlier run left."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from meshlib.errors import ClusterError
from meshlib.kube.apply import OURS
from meshlib.kube.client import Cluster, connect
from meshlib.parameters import Config
from meshlib.runbook.record import StepRecord

logger = logging.getLogger("meshlib.run")

State = dict[str, list[str]]

# resource → whether its names stay the same from run to run
KINDS = {
    "deployments.apps": True,
    "pods": False,
    "services": True,
    "configmaps": True,
    "secrets": True,
    "gateways.networking.istio.io": True,
    "virtualservices.networking.istio.io": True,
    "destinationrules.networking.istio.io": True,
    "peerauthentications.security.istio.io": True,
    "authorizationpolicies.security.istio.io": True,
    "telemetries.telemetry.istio.io": True,
}


class Eye:
    """Looks at the two namespaces of the runbook; it only ever reads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._cluster: Cluster | None = None

    def snapshot(self) -> State:
        """Kind → names, as `namespace/name`; empty where the cluster does not answer (the log says why)."""
        try:
            if self._cluster is None:
                path, context = self._config.kubeconfig_path, self._config.context
                self._cluster = connect(path, context, read_only=True, timeout_s=10)
            return {kind: names for kind in KINDS if (names := self._names(self._cluster, kind))}
        except ClusterError as error:
            logger.warning("no snapshot of the cluster: %s", error.message)
            return {}

    def _names(self, cluster: Cluster, kind: str) -> list[str]:
        try:
            found = [
                f"{namespace}/{obj['metadata']['name']}"
                for namespace in (self._config.istio_namespace, self._config.namespace)
                for obj in cluster.list(kind, namespace, labels=OURS if kind == "secrets" else "")
            ]
        except ClusterError as error:
            cluster.forget_kinds()  # a kind that is not served yet comes with the next step
            if error.status in (403, 404):
                return []
            raise
        return sorted(found)

    def about(self) -> tuple[str, str]:
        """(API server, its Kubernetes version); empty where the cluster does not answer."""
        try:
            cluster = connect(
                self._config.kubeconfig_path, self._config.context, read_only=True, timeout_s=10
            )
            return cluster.server, str(cluster.call("GET", "/version").get("gitVersion", ""))
        except ClusterError as error:
            logger.warning("the cluster's version is not known: %s", error.message)
            return "", ""


def difference(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> list[str]:
    """What came (`+`) and went (`-`) between two snapshots, one line an object."""
    lines: list[str] = []
    for kind in sorted({*before, *after}):
        old, new = set(before.get(kind, ())), set(after.get(kind, ()))
        gone, come = sorted(old - new), sorted(new - old)
        lines += [f"- {kind} {name}" for name in gone] + [f"+ {kind} {name}" for name in come]
    return lines


def first_to_do(order: Sequence[str], before: Sequence[StepRecord], now: Mapping[str, list[str]]) -> int:
    """Where to go on: the index in `order` of the first step to run again.

    A step counts as done if the earlier run shows it as passed, and what it added is there now, unless a
    later passed step removed it.  Pods do not count, their names change.
    """
    records = {record.name: record for record in before}
    good = 0
    while good < len(order) and order[good] in records and _counts(records[order[good]]):
        good += 1
    if not good:
        return 0
    kept = _stable(records[order[good - 1]].state_after)
    there = _stable(now)
    for number, name in enumerate(order[:good]):
        added = _stable(records[name].state_after) - _stable(records[name].state_before)
        if (added & kept) - there:
            return number
    return good


def _counts(record: StepRecord) -> bool:
    """Passed, or left out because it had passed (the reason says so); what `--only` left out never ran."""
    return record.outcome == "passed" or (record.outcome == "skipped" and bool(record.reason))


def _stable(state: Mapping[str, list[str]]) -> set[tuple[str, str]]:
    return {(kind, name) for kind, names in state.items() if KINDS.get(kind, True) for name in names}
