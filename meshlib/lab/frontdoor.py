"""The Service `kubernetes` of every cluster, with the lab's own addresses."""

from __future__ import annotations

from typing import Any

from meshlib.lab.api.bootstrap import bootstrap
from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Registry
from meshlib.lab.network import LOOPBACK, Subnet

Obj = dict[str, Any]

MANAGER = "kube-apiserver"


def kubernetes_service(subnet: Subnet) -> Obj:
    """The Service `kubernetes` in `default`: the first ClusterIP, in front of the API server."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": subnet.cluster_ip(0),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }


def kubernetes_slice(port: int) -> Obj:
    """Its EndpointSlice: where the API server truly listens."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [LOOPBACK], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }


def kubernetes_endpoints(port: int) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": LOOPBACK}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }


async def objects(registry: Registry, subnet: Subnet, port: int) -> None:
    """Create what is missing; what shows the API server's port is brought up to date."""
    await bootstrap(registry)
    await _ensure(registry, "services", "default", kubernetes_service(subnet))
    await _ensure(registry, "endpointslices.discovery.k8s.io", "default", kubernetes_slice(port))
    await _ensure(registry, "endpoints", "default", kubernetes_endpoints(port))


async def _ensure(registry: Registry, resource: str, namespace: str | None, obj: Obj) -> None:
    name = obj["metadata"]["name"]
    try:
        registry.get(resource, namespace, name)
    except StatusError as error:
        if error.status != 404:
            raise
        await registry.create(resource, namespace, obj, manager=MANAGER)

    def change(live: Obj) -> None:
        for part in ("endpoints", "ports", "subsets"):
            if part in obj:
                live[part] = obj[part]

    await registry.modify(resource, namespace, name, change, manager=MANAGER)
