"""Objects that the istiod tests share: pods as the kubelet hands them over."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import pytest

PORTS = {str(p): p for p in (15000, 15001, 15006, 15021, 15090)}


@pytest.fixture(scope="module")
def module_loopback() -> str:
    """As `loopback`, the same one for all tests of a module."""
    return draw()


@pytest.fixture
def loopback() -> str:
    """A loopback address that no other test is likely to use."""
    return draw()


def draw() -> str:
    if sys.platform != "linux":
        pytest.skip("only Linux answers on all of 127.0.0.0/8")
    return f"127.{random.randint(2, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


@pytest.fixture
def gateway_pod() -> dict[str, Any]:
    """The ingress gateway's pod as it is just before Envoy starts."""
    return {
        "metadata": {
            "name": "istio-ingressgateway-b48c8d45b-6k62q",
            "namespace": "istio-system",
            "uid": "11111111-0000-0000-0000-000000000001",
            "labels": {"app": "istio-ingressgateway", "istio": "ingressgateway"},
            "annotations": {
                "lab.meshlib.dev/inside": "127.0.0.1",
                "lab.meshlib.dev/ports": json.dumps({**PORTS, "8080": 8080, "8443": 8443}),
            },
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "istio-ingressgateway-b48c8d45b", "controller": True}
            ],
        },
        "spec": {
            "serviceAccountName": "istio-ingressgateway-service-account",
            "nodeName": "lab",
            "containers": [
                {
                    "name": "istio-proxy",
                    "image": "docker.io/istio/proxyv2:1.19.3",
                    "args": ["proxy", "router"],
                }
            ],
        },
        "status": {"podIP": "127.0.0.1"},
    }


@pytest.fixture
def app_pod() -> dict[str, Any]:
    """An injected pod of the seed's Deployment."""
    return {
        "metadata": {
            "name": "gohttpserver-6bd6d4ddb7-k59wl",
            "namespace": "httpserver-istio",
            "uid": "11111111-0000-0000-0000-000000000002",
            "labels": {
                "app": "gohttpserver",
                "security.istio.io/tlsMode": "istio",
                "service.istio.io/canonical-name": "gohttpserver",
            },
            "annotations": {
                "lab.meshlib.dev/inside": "127.0.0.2",
                "lab.meshlib.dev/ports": json.dumps({**PORTS, "81": 41081}),
            },
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "gohttpserver-6bd6d4ddb7", "controller": True}
            ],
        },
        "spec": {
            "serviceAccountName": "default",
            "nodeName": "lab",
            "initContainers": [{"name": "istio-init", "image": "docker.io/istio/proxyv2:1.19.3"}],
            "containers": [
                {
                    "name": "gohttpserver",
                    "image": "helenwami/gohttpserver:v1.3",
                    "ports": [{"name": "server-port", "containerPort": 81, "protocol": "TCP"}],
                },
                {
                    "name": "istio-proxy",
                    "image": "docker.io/istio/proxyv2:1.19.3",
                    "args": ["proxy", "sidecar"],
                    "env": [{"name": "PROXY_CONFIG", "value": "{}"}],
                },
            ],
        },
        "status": {"podIP": "127.0.0.1"},
    }
