"""What a cluster shows of the runbook's objects.  Imported late: the Kubernetes client takes its time."""

from __future__ import annotations

import logging

from meshlib.errors import ClusterError
from meshlib.kube.apply import OURS
from meshlib.kube.client import Cluster, connect
from meshlib.parameters import Config
from meshlib.runbook.state import KINDS, State

logger = logging.getLogger("meshlib.run")


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
