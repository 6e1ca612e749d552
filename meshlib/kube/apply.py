"""Apply plain objects and delete only what was applied.

Every object gets the label `app.kubernetes.io/managed-by: meshlib` and the run's id as an annotation; an
object that is there without the label belongs to somebody else and is never touched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.kube.client import Cluster, Obj
from meshlib.kube.rest import Resource

if TYPE_CHECKING:
    import pandas as pd

MANAGER = "meshlib"
MANAGED_BY = "app.kubernetes.io/managed-by"
RUN_ID = "meshlib.dev/run-id"
KEEP = "meshlib.dev/keep"
OURS = f"{MANAGED_BY}={MANAGER}"

# Deleted in these orders: rules first, what they rule last; nothing waits for a webhook or a controller
# that went first.
RULES_AND_RULED = (
    "authorizationpolicies.security.istio.io",
    "requestauthentications.security.istio.io",
    "peerauthentications.security.istio.io",
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
    "gateways.networking.istio.io",
    "deployments.apps",
    "services",
    "configmaps",
)
CLEANUP = (
    "telemetries.telemetry.istio.io",
    *RULES_AND_RULED,
    "secrets",
    "serviceaccounts",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "poddisruptionbudgets.policy",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "namespaces",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
)

CLUSTER_SCOPED = frozenset(
    name for name in CLEANUP if name.startswith(("cluster", "custom", "mutating", "validating", "namespaces"))
)


def stamped(obj: Obj, run_id: str) -> Obj:
    """A copy of `obj` with our label and the run's id."""
    marked = copy.deepcopy(obj)
    meta = marked["metadata"]
    meta["labels"] = {**meta.get("labels", {}), MANAGED_BY: MANAGER}
    if run_id:
        meta["annotations"] = {**meta.get("annotations", {}), RUN_ID: run_id}
    return marked


def is_ours(obj: Obj) -> bool:
    """Whether the object carries our label."""
    return bool(obj["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER)


def apply(cluster: Cluster, objects: Obj | Iterable[Obj]) -> pd.DataFrame:
    """Server-side apply of each object, in the order given.

    Returns one row an object: Object (`deployment.apps/gohttpserver`), Namespace, Result (`created`,
    `configured`, `unchanged`: the words of `kubectl apply`).  Raises `ClusterError` before the first write
    when an object exists that is not ours.
    """
    import pandas as pd  # not above: who only looks for our label starts without it

    wanted = [objects] if isinstance(objects, dict) else list(objects)
    before = [_existing(cluster, obj) for obj in wanted]
    rows = []
    for obj, (resource, old) in zip(wanted, before, strict=True):
        new = cluster.apply(stamped(obj, cluster.run_id), manager=MANAGER)
        rows.append((_title(resource, new), new["metadata"].get("namespace", ""), _result(old, new)))
    return pd.DataFrame(rows, columns=["Object", "Namespace", "Result"])


def _existing(cluster: Cluster, obj: Obj) -> tuple[Resource, Obj | None]:
    resource = cluster.resource_of(obj)
    meta = obj["metadata"]
    old = cluster.find(resource.name, meta["name"], meta.get("namespace"))
    if old is not None and not is_ours(old):
        title = _title(resource, old)
        raise ClusterError(
            f"{title} in {meta.get('namespace', 'the cluster')} was not made by meshlib; it stays as it is",
            status=409,
            reason="AlreadyExists",
            fix=f"choose another name, or hand it over: kubectl label {title} {OURS}",
        )
    return resource, old


def _result(old: Obj | None, new: Obj) -> str:
    if old is None:
        return "created"
    if _meaning(old) == _meaning(new):
        return "unchanged"
    return "configured"


def _meaning(obj: Obj) -> Obj:
    kept = copy.deepcopy({key: value for key, value in obj.items() if key not in ("status", "apiVersion")})
    for noise in ("resourceVersion", "managedFields", "generation"):
        kept["metadata"].pop(noise, None)
    kept["metadata"].get("annotations", {}).pop(RUN_ID, None)
    return kept


def _title(resource: Resource, obj: Obj) -> str:
    singular = resource.kind.lower()
    return (
        f"{singular}.{resource.group}/{obj['metadata']['name']}"
        if resource.group
        else f"{singular}/{obj['metadata']['name']}"
    )


def ours(cluster: Cluster, namespaces: Sequence[str], kinds: Sequence[str] = CLEANUP) -> pd.DataFrame:
    """Everything with our label: one row an object, with Resource, Namespace, Name, UID and the run that
    made it.

    What has the annotation `meshlib.dev/keep` stays out: a namespace whose Roles a scheduled run lives by.
    Looked for in `namespaces` and in the namespaces that are ours; the server filters by label, so that no
    Secret of anybody else is ever sent, and none at all to a read-only connection.
    """
    import pandas as pd  # as in `apply`

    own = [each["metadata"]["name"] for each in cluster.list("namespaces", labels=OURS)]
    rows = []
    for name in kinds:
        if cluster.read_only and name == "secrets":
            continue
        places = [None] if name in CLUSTER_SCOPED else list(dict.fromkeys([*namespaces, *own]))
        try:
            found = [obj for place in places for obj in cluster.list(name, place, labels=OURS)]
        except ClusterError as error:
            if error.status == 404:
                continue
            raise
        for obj in found:
            meta = obj["metadata"]
            notes = meta.get("annotations", {})
            if KEEP in notes:
                continue
            run = notes.get(RUN_ID, "")
            rows.append((name, meta.get("namespace", ""), meta["name"], run, meta["uid"]))
    return pd.DataFrame(rows, columns=["Resource", "Namespace", "Name", "Run", "UID"])


def delete(cluster: Cluster, objects: pd.DataFrame, *, timeout_s: float = 60.0) -> pd.DataFrame:
    """Delete the objects that `ours` listed, and wait until they are gone; returns the list with a column
    Result."""
    results = []
    for row in objects.itertuples():
        gone = not cluster.delete(
            str(row.Resource), str(row.Name), str(row.Namespace) or None, uid=str(row.UID)
        )
        results.append("was gone" if gone else "deleted")
    wait.until(lambda: _all_gone(cluster, objects), "the deleted objects to be gone", timeout_s=timeout_s)
    return objects.drop(columns="UID").assign(Result=results)


def _all_gone(cluster: Cluster, objects: pd.DataFrame) -> None:
    for row in objects.itertuples():
        try:
            left = cluster.find(str(row.Resource), str(row.Name), str(row.Namespace) or None)
        except ClusterError as error:
            raise wait.NotYet(str(error)) from error
        if left is not None and left["metadata"]["uid"] == row.UID:
            raise wait.NotYet(f"{row.Resource}/{row.Name} is still there")
