"""What `kubectl get` prints, as DataFrames: the server makes the table, nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from meshlib.errors import ClusterError
from meshlib.kube.client import TABLE, Cluster, Obj

GET_ALL = ("pods", "services", "deployments.apps", "replicasets.apps")


def get(
    cluster: Cluster,
    resource: str,
    namespace: str | None = None,
    *,
    name: str = "",
    labels: str = "",
    wide: bool = False,
    drop: Sequence[str] = ("Age",),
) -> pd.DataFrame:
    """The rows of `kubectl get <resource>`; `wide` adds the columns of `-o wide`, `drop` leaves columns out.

    Without `namespace` all namespaces are listed, with a first column Namespace as `-A` prints it.
    Age is dropped by default so that two runs can be compared.
    """
    kind = cluster.resource(resource)
    params = {"labelSelector": labels} if labels else None
    table = cluster.call("GET", kind.path(namespace, name or None), params=params, accept=TABLE)
    if table.get("kind") != "Table":
        raise ClusterError(
            f"the server does not print tables: it answered {table.get('kind')} for {resource}"
        )
    return frame(table, wide=wide, with_namespace=kind.namespaced and not namespace).drop(
        columns=list(drop), errors="ignore"
    )


def frame(table: Obj, *, wide: bool = False, with_namespace: bool = False) -> pd.DataFrame:
    """A `meta.k8s.io/v1` Table as a DataFrame; columns with a priority above 0 only when `wide`."""
    columns = table["columnDefinitions"]
    shown = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    rows = table.get("rows") or []
    data = pd.DataFrame(
        [[row["cells"][index] for index in shown] for row in rows],
        columns=[columns[index]["name"] for index in shown],
    )
    if with_namespace:
        data.insert(0, "Namespace", [row["object"]["metadata"].get("namespace", "") for row in rows])
    return data


def get_all(cluster: Cluster, namespace: str) -> dict[str, pd.DataFrame]:
    """`kubectl get all -n <namespace>`: one table each for pods, services, deployments and replica sets."""
    tables = {resource.partition(".")[0]: get(cluster, resource, namespace) for resource in GET_ALL}
    return {name: table for name, table in tables.items() if len(table)}


def events(cluster: Cluster, namespace: str, *, about: str = "") -> pd.DataFrame:
    """The events of a namespace, newest last: Type, Reason, Object, Message; `about` narrows to one object's
    name."""
    found = cluster.list("events", namespace, fields=f"involvedObject.name={about}" if about else "")
    found.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    rows = [
        (
            event.get("type", ""),
            event.get("reason", ""),
            f"{event['involvedObject'].get('kind', '')}/{event['involvedObject'].get('name', '')}".lower(),
            event.get("message", ""),
        )
        for event in found
    ]
    return pd.DataFrame(rows, columns=["Type", "Reason", "Object", "Message"])
