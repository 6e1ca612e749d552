"""Keeps istiod's picture of the API true: list, watch, resume, list again when the watch expired."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meshlib.errors import ClusterError
from meshlib.lab.istiod.kubeapi import Backoff, Expired, KubeApi, Obj

LOG = logging.getLogger("istiod.kube")

Sink = Callable[[bool, Obj], None]
"""Called with (present, object): True for an object as it now is, False for one that is gone."""

UNSERVED_RETRY_S = 1.0


@dataclass(frozen=True)
class Collection:
    """A kind across all namespaces, by group ("" is the core group) and the plural of its path."""

    group: str
    kind: str
    plural: str


COLLECTIONS: tuple[Collection, ...] = tuple(
    Collection(group, kind, plural)
    for group, kinds in {
        "": {
            "Pod": "pods",
            "Service": "services",
            "ConfigMap": "configmaps",
            "Secret": "secrets",
            "Namespace": "namespaces",
        },
        "discovery.k8s.io": {"EndpointSlice": "endpointslices"},
        "admissionregistration.k8s.io": {
            "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
            "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
        },
        "networking.istio.io": {
            "Gateway": "gateways",
            "VirtualService": "virtualservices",
            "DestinationRule": "destinationrules",
            "ServiceEntry": "serviceentries",
            "WorkloadEntry": "workloadentries",
        },
        "security.istio.io": {
            "PeerAuthentication": "peerauthentications",
            "RequestAuthentication": "requestauthentications",
            "AuthorizationPolicy": "authorizationpolicies",
        },
        "telemetry.istio.io": {"Telemetry": "telemetries"},
    }.items()
    for kind, plural in kinds.items()
)


async def served_path(api: KubeApi, collection: Collection) -> str | None:
    """The collection's path in the version that the server prefers; None while it serves none."""
    if not collection.group:
        return f"/api/v1/{collection.plural}"
    try:
        group = await api.call("GET", f"/apis/{collection.group}")
        versions = [group["preferredVersion"], *group["versions"]]
        for version in dict.fromkeys(entry["groupVersion"] for entry in versions):
            resources = await api.call("GET", f"/apis/{version}")
            if any(r["name"] == collection.plural for r in resources["resources"]):
                return f"/apis/{version}/{collection.plural}"
    except ClusterError as error:
        if error.status != 404:
            raise
    return None


class Reflector:
    """Mirrors one collection into a sink, for ever; `synced` is set after the first complete list."""

    def __init__(self, api: KubeApi, collection: Collection, sink: Sink) -> None:
        self.collection = collection
        self.synced = asyncio.Event()
        self._api = api
        self._sink = sink
        self._known: dict[tuple[str, str], Obj] = {}

    async def run(self) -> None:
        """List and watch until cancelled; every failure is logged once and tried again after a pause."""
        backoff = Backoff()
        said = ""
        while True:
            try:
                path = await served_path(self._api, self.collection)
                if path is None:
                    self._take_all([])
                    await asyncio.sleep(UNSERVED_RETRY_S)
                    continue
                items, version = await self._api.list_all(path)
                self._take_all(items)
                backoff.clear()
                said = ""
                while True:
                    version = await self._follow(path, version)
            except Expired:
                continue
            except ClusterError as error:
                if str(error) != said:
                    said = str(error)
                    LOG.warning("%s: %s", self.collection.plural, said)
                await backoff.pause()

    async def _follow(self, path: str, version: str) -> str:
        """One watch to its end; the resourceVersion from which to resume."""
        api_version, kind = _identity(path, self.collection)
        async for change, obj in self._api.watch(path, version):
            version = obj["metadata"]["resourceVersion"]
            if change != "BOOKMARK":
                self._take(change != "DELETED", {"apiVersion": api_version, "kind": kind, **obj})
        return version

    def _take_all(self, items: list[Obj]) -> None:
        listed = {_key(obj) for obj in items}
        for key in [key for key in self._known if key not in listed]:
            self._take(False, self._known[key])
        for obj in items:
            known = self._known.get(_key(obj))
            if known is None or known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                self._take(True, obj)
        self.synced.set()

    def _take(self, present: bool, obj: Obj) -> None:
        if present:
            self._known[_key(obj)] = _stub(obj)
        else:
            self._known.pop(_key(obj), None)
        self._sink(present, obj)


def _stub(obj: Obj) -> Obj:
    """Enough of an object to notice a change and to report it gone; the world holds the rest."""
    meta = obj["metadata"]
    kept = {k: meta[k] for k in ("name", "namespace", "resourceVersion", "uid") if k in meta}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": kept}


def _identity(path: str, collection: Collection) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    return ("v1" if parts[0] == "api" else "/".join(parts[1:3])), collection.kind


def _key(obj: Mapping[str, Obj]) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def reflectors(api: KubeApi, sink: Sink) -> list[Reflector]:
    """One reflector for every collection that istiod reads."""
    return [Reflector(api, collection, sink) for collection in COLLECTIONS]
