"""Namespaces: what each one has from the start, and the emptying of one that is deleted."""

from __future__ import annotations

import time
from collections.abc import Iterable

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Event, Registry
from meshlib.lab.controllers.queue import Controller, Key, Obj, deleting
from meshlib.lab.kubelet.status import rfc3339

ROOT_CA = "kube-root-ca.crt"
FINALIZER = "kubernetes"
LOOK_AGAIN_S = 0.1
_DONE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


class Furnishings(Controller):
    """The ServiceAccount `default` and the cluster's CA, in every namespace, and again when removed."""

    name = "namespace-contents"
    watches = ("namespaces", "serviceaccounts", "configmaps")

    def __init__(self, registry: Registry, ca_pem: str) -> None:
        super().__init__(registry)
        self._ca_pem = ca_pem

    def keys(self, event: Event) -> Iterable[Key]:
        meta = event.object["metadata"]
        if event.resource == "namespaces":
            return [Key("", meta["name"])]
        wanted = meta["name"] == ("default" if event.resource == "serviceaccounts" else ROOT_CA)
        return [Key("", meta["namespace"])] if wanted and event.type != "ADDED" else []

    async def reconcile(self, key: Key) -> None:
        namespace = self.find("namespaces", key)
        if namespace is None or deleting(namespace):
            return
        if self.find("serviceaccounts", Key(key.name, "default")) is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            await self._create("serviceaccounts", key.name, account, "service-account-controller")
        wanted = {"ca.crt": self._ca_pem}
        found = self.find("configmaps", Key(key.name, ROOT_CA))
        if found is None:
            note = (
                "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
                "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
                "guaranteed across distributions of Kubernetes clusters."
            )
            meta = {"name": ROOT_CA, "annotations": {"kubernetes.io/description": note}}
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": wanted}
            await self._create("configmaps", key.name, config, "root-ca-cert-publisher")
        elif found.get("data") != wanted:

            def restore(live: Obj) -> None:
                live["data"] = wanted

            await self.registry.modify(
                "configmaps", key.name, ROOT_CA, restore, manager="root-ca-cert-publisher"
            )

    async def _create(self, resource: str, namespace: str, obj: Obj, manager: str) -> None:
        try:
            await self.registry.create(resource, namespace, obj, manager=manager)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise


def conditions(
    before: list[Obj], remaining: dict[str, int], finalizers: dict[str, int], now_s: float
) -> list[Obj]:
    """The conditions of a namespace that is being deleted. Pure.

    `remaining` counts objects by resource, `finalizers` counts the objects that each finalizer holds.
    """
    old = {each["type"]: each for each in before}
    result = []
    for type_, (reason, message) in _DONE.items():
        status = "False"
        if type_ == "NamespaceContentRemaining" and remaining:
            listed = ", ".join(
                f"{name} has {count} resource instances" for name, count in sorted(remaining.items())
            )
            status, reason, message = "True", "SomeResourcesRemain", f"Some resources are remaining: {listed}"
        if type_ == "NamespaceFinalizersRemaining" and finalizers:
            listed = ", ".join(
                f"{name} in {count} resource instances" for name, count in sorted(finalizers.items())
            )
            status, reason = "True", "SomeFinalizersRemain"
            message = f"Some content in the namespace has finalizers remaining: {listed}"
        same = type_ in old and old[type_]["status"] == status
        since = old[type_]["lastTransitionTime"] if same else rfc3339(now_s)
        result.append(
            {
                "type": type_,
                "status": status,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
        )
    return result


class Termination(Controller):
    """Deletes what is in a namespace that is being deleted, then lets the namespace go."""

    name = "namespace"
    watches = ("namespaces",)

    def keys(self, event: Event) -> Iterable[Key]:
        return [Key("", event.object["metadata"]["name"])] if deleting(event.object) else []

    async def reconcile(self, key: Key) -> float | None:
        namespace = self.find("namespaces", key)
        if namespace is None or not deleting(namespace):
            return None
        remaining: dict[str, int] = {}
        finalizers: dict[str, int] = {}
        for resource in self._contents():
            found = self.registry.list(resource, key.name)
            for each in found:
                if not deleting(each):
                    await self._delete(resource, key.name, each)
            left = self.registry.list(resource, key.name)
            if left:
                remaining[resource if "." in resource else f"{resource}."] = len(left)
            for each in left:
                for finalizer in each["metadata"].get("finalizers") or []:
                    finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
        if remaining:
            await self._report(key, remaining, finalizers)
            return LOOK_AGAIN_S

        def let_go(live: Obj) -> None:
            live["spec"]["finalizers"] = [
                each for each in live["spec"].get("finalizers") or [] if each != FINALIZER
            ]

        await self.registry.modify(
            "namespaces", None, key.name, let_go, subresource="finalize", manager=self.name
        )
        return None

    def _contents(self) -> list[str]:
        """Everything namespaced; pods after what would make new ones, events at the end."""
        kinds = [
            each
            for each in self.registry.kinds
            if each.namespaced and not each.virtual and "list" in each.verbs
        ]
        names = {each.resource for each in kinds} - {"pods", "events", "events.events.k8s.io"}
        return [*sorted(names), "pods", "events"]

    async def _delete(self, resource: str, namespace: str, obj: Obj) -> None:
        meta = obj["metadata"]
        try:
            await self.registry.delete(
                resource, namespace, meta["name"], propagation="Background", uid=meta["uid"]
            )
        except StatusError as error:
            if error.status not in (404, 409):
                raise

    async def _report(self, key: Key, remaining: dict[str, int], finalizers: dict[str, int]) -> None:
        def change(live: Obj) -> None:
            status = live.get("status") or {}
            wanted = conditions(status.get("conditions") or [], remaining, finalizers, time.time())
            live["status"] = {**status, "conditions": wanted}

        await self.registry.modify(
            "namespaces", None, key.name, change, subresource="status", manager=self.name
        )
