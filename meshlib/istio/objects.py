"""Pure: the objects of the lab, as plain dictionaries in the form that a careful user would write.

What the seed's manifests lack is here: named ports, the ConfigMap mounted, probes, resources, a security
context, a service account, a version label.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

Obj = dict[str, Any]

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
TELEMETRY = "telemetry.istio.io/v1"

GREETING_FILE = "greeting.conf"
GREETING_FOLDER = "/etc/httpserver"


def _meta(name: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> Obj:
    meta: Obj = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = dict(labels)
    return meta


def namespace(name: str, *, label: str = "enabled") -> Obj:
    """A namespace with `istio-injection=<label>`; only the value `enabled` makes new pods get a sidecar."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": _meta(name, labels={"istio-injection": label}),
    }


def config_map(name: str, namespace: str, data: Mapping[str, str]) -> Obj:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name, namespace), "data": dict(data)}


def service_account(name: str, namespace: str) -> Obj:
    """A ServiceAccount: the workload's identity in the mesh, `spiffe://cluster.local/ns/<namespace>/sa/<name>`."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name, namespace)}


def tls_secret(name: str, namespace: str, certificate: str, key: str) -> Obj:
    """A kubernetes.io/tls Secret from PEM texts; it belongs into the namespace of the gateway's pods."""
    data = encoded({"tls.crt": certificate, "tls.key": key})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _meta(name, namespace),
        "type": "kubernetes.io/tls",
        "data": data,
    }


def encoded(data: Mapping[str, str]) -> dict[str, str]:
    """Texts as the `data` of a Secret holds them."""
    return {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}


def deployment(
    name: str,
    namespace: str,
    *,
    image: str,
    replicas: int,
    port: int,
    config: str,
    version: str = "v1",
    env: Mapping[str, str] | None = None,
) -> Obj:
    """The HTTP server: `config` names the ConfigMap with the greeting, mounted at /etc/httpserver."""
    labels = {"app": name, "version": version}
    probe = {"httpGet": {"path": "/healthz", "port": "http"}}
    container: Obj = {
        "name": name,
        "image": image,
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {**probe, "periodSeconds": 2},
        "livenessProbe": {**probe, "periodSeconds": 10, "initialDelaySeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": GREETING_FOLDER, "readOnly": True}],
    }
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    pod: Obj = {
        "serviceAccountName": name,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": config}}],
    }
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port),
        "prometheus.io/path": "/metrics",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(name, namespace, {"app": name}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def service(name: str, namespace: str, *, port: int, target_port: int | str = "http") -> Obj:
    """A Service whose port has a name: Istio reads the protocol from it (an unnamed one is sniffed,
    IST0118)."""
    ports = [{"name": "http", "port": port, "targetPort": target_port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(name, namespace, {"app": name}),
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def gateway(
    name: str, namespace: str, *, hosts: Sequence[str], credential: str, redirect_http: bool = True
) -> Obj:
    """A Gateway on the default ingress gateway: HTTPS with the Secret `credential`, plain HTTP only to
    redirect."""
    https = {
        "port": {"name": name, "number": 443, "protocol": "HTTPS"},
        "hosts": list(hosts),
        "tls": {"mode": "SIMPLE", "credentialName": credential, "minProtocolVersion": "TLSV1_2"},
    }
    http = {
        "port": {"name": "http", "number": 80, "protocol": "HTTP"},
        "hosts": list(hosts),
        "tls": {"httpsRedirect": True},
    }
    return {
        "apiVersion": NETWORKING,
        "kind": "Gateway",
        "metadata": _meta(name, namespace),
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [https, *([http] if redirect_http else [])],
        },
    }


def virtual_service(
    name: str, namespace: str, *, hosts: Sequence[str], gateways: Sequence[str], http: Sequence[Obj]
) -> Obj:
    """A VirtualService with the routes `http`, first match wins."""
    spec = {"hosts": list(hosts), "gateways": list(gateways), "http": list(http)}
    return {
        "apiVersion": NETWORKING,
        "kind": "VirtualService",
        "metadata": _meta(name, namespace),
        "spec": spec,
    }


def exact_routes(paths: Sequence[str], destination: str, port: int) -> list[Obj]:
    """One route to `destination` that takes exactly these paths; other paths match nothing and are 404 at
    the gateway."""
    matches = [{"uri": {"exact": path}} for path in paths]
    return [{"match": matches, "route": [{"destination": {"host": destination, "port": {"number": port}}}]}]


def telemetry(name: str, namespace: str, *, provider: str, sampling_percent: float) -> Obj:
    """Tracing for the namespace (the root namespace: for the whole mesh) through an extension provider of
    the mesh config."""
    tracing = [{"providers": [{"name": provider}], "randomSamplingPercentage": sampling_percent}]
    return {
        "apiVersion": TELEMETRY,
        "kind": "Telemetry",
        "metadata": _meta(name, namespace),
        "spec": {"tracing": tracing},
    }
