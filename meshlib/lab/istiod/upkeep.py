"""What istiod keeps in the cluster: its CA's Secret, the root ConfigMaps, the webhooks' caBundle."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from meshlib.errors import ClusterError
from meshlib.lab.istiod.ca import PLUGGED_IN, SECRET, Authority
from meshlib.lab.istiod.kubeapi import Backoff, KubeApi

LOG = logging.getLogger("istiod.upkeep")

Obj = dict[str, Any]

ROOT_CONFIG_MAP = "istio-ca-root-cert"
LEADERS = ("istio-leader", "istio-gateway-status-leader", "istio-namespace-controller-election")
LEADER = "control-plane.alpha.kubernetes.io/leader"
WITHOUT_ROOT = {"kube-public", "kube-node-lease", "local-path-storage"}
"""Namespaces that get no root ConfigMap (Istio: namespacecontroller.go)."""
WEBHOOKS = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}


async def authority(api: KubeApi, namespace: str) -> Authority:
    """The CA of the Secret `cacerts`, else of `istio-ca-secret`, which is made when there is none.

    Raises LabError when a Secret holds no usable CA, ClusterError when the API does not answer.
    """
    for name in (PLUGGED_IN, SECRET):
        try:
            return Authority.from_secret(
                await api.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
            )
        except ClusterError as error:
            if error.status != 404:
                raise
    made = Authority.create()
    try:
        await api.call("POST", f"/api/v1/namespaces/{namespace}/secrets", made.to_secret(namespace))
    except ClusterError as error:
        if error.status == 409:
            return await authority(api, namespace)
        raise
    LOG.info("use self-signed CA certificate, kept in Secret %s/%s", namespace, SECRET)
    return made


def leader_record(holder: str, now: datetime) -> str:
    """The annotation of a leader ConfigMap; written once, as nobody else in the lab would take over."""
    at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    return json.dumps(
        {
            "holderIdentity": holder,
            "holderKey": "default",
            "leaseDurationSeconds": 30,
            "acquireTime": at,
            "renewTime": at,
            "leaderTransitions": 0,
        },
        separators=(",", ":"),
    )


def bundle_patch(configuration: Obj, bundle: str, namespace: str) -> Obj | None:
    """The merge patch that gives every webhook that calls this istiod its caBundle; None when all have it."""
    changed = False
    webhooks = []
    for webhook in configuration.get("webhooks") or []:
        client = webhook["clientConfig"]
        service = client.get("service") or {}
        ours = service.get("name") == "istiod" and service.get("namespace") == namespace
        if ours and client.get("caBundle") != bundle:
            changed = True
            webhook = {**webhook, "clientConfig": {**client, "caBundle": bundle}}
        webhooks.append(webhook)
    return {"webhooks": webhooks} if changed else None


class Upkeep:
    """Level-triggered: looks at what the API has and writes what is missing or other than it should be."""

    def __init__(self, api: KubeApi, ca: Authority, namespace: str, pod: str) -> None:
        self._api = api
        self._ca = ca
        self._namespace = namespace
        self._pod = pod
        self._namespaces: set[str] = set()
        self._roots: dict[str, str] = {}
        self._leaders: dict[str, str] = {}
        self._webhooks: dict[tuple[str, str], Obj] = {}
        self._dirty = asyncio.Event()

    def note(self, present: bool, obj: Obj) -> None:
        """Take note of an object of the kinds that matter here; others are ignored."""
        kind, meta = obj["kind"], obj["metadata"]
        if kind == "Namespace":
            terminating = obj.get("status", {}).get("phase") == "Terminating"
            wanted = present and not terminating and meta["name"] not in WITHOUT_ROOT
            (self._namespaces.add if wanted else self._namespaces.discard)(meta["name"])
        elif kind == "ConfigMap" and meta["name"] == ROOT_CONFIG_MAP:
            if present:
                self._roots[meta["namespace"]] = (obj.get("data") or {}).get("root-cert.pem", "")
            else:
                self._roots.pop(meta["namespace"], None)
        elif kind == "ConfigMap" and meta["name"] in LEADERS and meta["namespace"] == self._namespace:
            notes = meta.get("annotations") or {}
            self._leaders[meta["name"]] = json.loads(notes.get(LEADER, "{}")).get("holderIdentity", "")
        elif kind in WEBHOOKS:
            if present:
                self._webhooks[kind, meta["name"]] = obj
            else:
                self._webhooks.pop((kind, meta["name"]), None)
        else:
            return
        self._dirty.set()

    async def run(self) -> None:
        """Write until cancelled; what fails is logged and tried again."""
        backoff = Backoff()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            failed = False
            for what, method, path, body in list(self._writes()):
                try:
                    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
                    await self._api.call(method, path, body, kind=kind)
                except ClusterError as error:
                    # 404: the namespace has gone in between; 409: another write came first and will be seen.
                    if error.status not in (404, 409):
                        LOG.warning("cannot write %s: %s", what, error)
                        failed = True
            if failed:
                await backoff.pause()
                self._dirty.set()
            else:
                backoff.clear()

    def _writes(self) -> Iterator[tuple[str, str, str, Obj]]:
        for namespace in sorted(self._namespaces):
            if self._roots.get(namespace) == self._ca.root_pem:
                continue
            path = f"/api/v1/namespaces/{namespace}/configmaps"
            data = {"root-cert.pem": self._ca.root_pem}
            what = f"ConfigMap {namespace}/{ROOT_CONFIG_MAP}"
            if namespace in self._roots:
                yield what, "PATCH", f"{path}/{ROOT_CONFIG_MAP}", {"data": data}
            else:
                meta = {"name": ROOT_CONFIG_MAP, "labels": {"istio.io/config": "true"}}
                yield (
                    what,
                    "POST",
                    path,
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
                )
        path = f"/api/v1/namespaces/{self._namespace}/configmaps"
        for name in LEADERS:
            if self._leaders.get(name) == self._pod:
                continue
            note = {"annotations": {LEADER: leader_record(self._pod, datetime.now(UTC))}}
            what = f"ConfigMap {self._namespace}/{name}"
            if name in self._leaders:
                yield what, "PATCH", f"{path}/{name}", {"metadata": note}
            else:
                meta = {"name": name, **note}
                yield what, "POST", path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        bundle = base64.b64encode(self._ca.root_pem.encode()).decode()
        for (kind, name), configuration in self._webhooks.items():
            patch = bundle_patch(configuration, bundle, self._namespace)
            if patch is not None:
                path = f"/apis/admissionregistration.k8s.io/v1/{WEBHOOKS[kind]}/{name}"
                yield f"{kind} {name}", "PATCH", path, patch
