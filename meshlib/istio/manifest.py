"""Pure: what `istioctl install --set profile=demo` creates, as objects: the control plane, two gateways,
their rights.

Written for the embedded lab, whose images `istio/pilot` and `istio/proxyv2` are programs of its own; the
shapes and names are those of the real profile, so that everything learned on it holds elsewhere.
"""

from __future__ import annotations

from typing import Any

import yaml

from meshlib.istio import rights, webhooks

Obj = dict[str, Any]

HUB = "docker.io/istio"
CRD_KINDS = {
    "networking.istio.io": (
        ("DestinationRule", "destinationrules"),
        ("EnvoyFilter", "envoyfilters"),
        ("Gateway", "gateways"),
        ("ProxyConfig", "proxyconfigs"),
        ("ServiceEntry", "serviceentries"),
        ("Sidecar", "sidecars"),
        ("VirtualService", "virtualservices"),
        ("WorkloadEntry", "workloadentries"),
        ("WorkloadGroup", "workloadgroups"),
    ),
    "security.istio.io": (
        ("AuthorizationPolicy", "authorizationpolicies"),
        ("PeerAuthentication", "peerauthentications"),
        ("RequestAuthentication", "requestauthentications"),
    ),
    "telemetry.istio.io": (("Telemetry", "telemetries"),),
    "extensions.istio.io": (("WasmPlugin", "wasmplugins"),),
}
ISTIOD_PORTS = (
    ("grpc-xds", 15010, 15010),
    ("https-dns", 15012, 15012),
    ("https-webhook", 443, 15017),
    ("http-monitoring", 15014, 15014),
)
INGRESS_PORTS = (
    ("status-port", 15021, 15021),
    ("http2", 80, 8080),
    ("https", 443, 8443),
    ("tcp", 31400, 31400),
    ("tls", 15443, 15443),
)
EGRESS_PORTS = (("http2", 80, 8080), ("https", 443, 8443))


def minor_of(version: str) -> int:
    """`1.30.5` → 30."""
    return int(version.split(".")[1])


def mesh_config(version: str, namespace: str) -> str:
    """The text of ConfigMap `istio`, key `mesh`, as the demo profile of that minor gives it."""
    minor = minor_of(version)
    default_config: Obj = {"discoveryAddress": f"istiod.{namespace}.svc:15012"}
    if minor <= 21:
        default_config |= {
            "proxyMetadata": {},
            "tracing": {"zipkin": {"address": f"zipkin.{namespace}:9411"}},
        }
    collector = "opentelemetry-collector"
    providers: list[Obj] = [
        {
            "name": "otel",
            "envoyOtelAls": {"port": 4317, "service": f"{collector}.{namespace}.svc.cluster.local"},
        },
        {
            "name": "skywalking",
            "skywalking": {"port": 11800, "service": f"tracing.{namespace}.svc.cluster.local"},
        },
        {
            "name": "otel-tracing",
            "opentelemetry": {"port": 4317, "service": f"{collector}.otel-collector.svc.cluster.local"},
        },
    ]
    if minor >= 25:
        jaeger = {"port": 4317, "service": f"jaeger-collector.{namespace}.svc.cluster.local"}
        providers.append({"name": "jaeger", "opentelemetry": jaeger})
    mesh = {
        "accessLogFile": "/dev/stdout",
        "defaultConfig": default_config,
        "defaultProviders": {"metrics": ["prometheus"]},
        "enablePrometheusMerge": True,
        "extensionProviders": providers,
        "rootNamespace": namespace,
        "trustDomain": "cluster.local",
    }
    return str(yaml.safe_dump(mesh, sort_keys=True))


def objects(version: str, namespace: str) -> list[Obj]:
    """Every object of the profile, in the order in which it is applied; istiod makes its CA Secret and root
    ConfigMaps itself."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        *rights.objects(namespace),
        *_config(version, namespace),
        *_istiod(version, namespace),
        *_gateway(
            version, namespace, "istio-ingressgateway", "ingressgateway", INGRESS_PORTS, "LoadBalancer"
        ),
        *_gateway(version, namespace, "istio-egressgateway", "egressgateway", EGRESS_PORTS, "ClusterIP"),
        *webhooks.objects(namespace),
    ]


def labels(component: str, version: str) -> dict[str, str]:
    """The labels that istioctl puts on what it installs."""
    return {
        "install.operator.istio.io/owning-resource": "unknown",
        "istio.io/rev": "default",
        "operator.istio.io/component": component,
        "operator.istio.io/managed": "Reconcile",
        "operator.istio.io/version": version,
        "release": "istio",
    }


def _config(version: str, namespace: str) -> list[Obj]:
    values = {
        "global": {"hub": HUB, "tag": version, "istioNamespace": namespace, "proxy": {"image": "proxyv2"}},
        "revision": "",
        "sidecarInjectorWebhook": {"enableNamespacesByDefault": False},
    }
    injector = {
        "policy": "enabled",
        "alwaysInjectSelector": [],
        "neverInjectSelector": [],
        "defaultTemplates": ["sidecar"],
    }
    marked = labels("Pilot", version)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": namespace, "labels": marked},
            "data": {"mesh": mesh_config(version, namespace), "meshNetworks": "networks: {}"},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio-sidecar-injector", "namespace": namespace, "labels": marked},
            "data": {"config": yaml.safe_dump(injector), "values": yaml.safe_dump(values)},
        },
    ]


def _istiod(version: str, namespace: str) -> list[Obj]:
    selector = {"app": "istiod", "istio": "pilot"}
    env = [
        {"name": "REVISION", "value": "default"},
        {"name": "PILOT_CERT_PROVIDER", "value": "istiod"},
        *_downward(),
        {"name": "PILOT_TRACE_SAMPLING", "value": "100"},
        {"name": "CLUSTER_ID", "value": "Kubernetes"},
    ]
    container: Obj = {
        "name": "discovery",
        "image": f"{HUB}/pilot:{version}",
        "args": [
            "discovery",
            "--monitoringAddr=:15014",
            "--log_output_level=default:info",
            "--domain",
            "cluster.local",
        ],
        "env": env,
        "ports": [
            {"name": "http-debug", "containerPort": 8080},
            {"name": "grpc-xds", "containerPort": 15010},
            {"name": "tls-xds", "containerPort": 15012},
            {"name": "https-webhooks", "containerPort": 15017},
            {"name": "http-monitoring", "containerPort": 15014},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": 8080},
            "initialDelaySeconds": 1,
            "periodSeconds": 1,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "100Mi"}},
        "securityContext": _locked_down(),
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/istio/config"}],
    }
    pod: Obj = {
        "serviceAccountName": "istiod",
        "containers": [container],
        "volumes": [{"name": "config-volume", "configMap": {"name": "istio", "optional": True}}],
    }
    marked = {**labels("Pilot", version), **selector}
    return [
        _deployment("istiod", namespace, marked, selector, pod),
        _service("istiod", namespace, marked, selector, ISTIOD_PORTS, "ClusterIP"),
        _budget("istiod", namespace, marked, selector),
    ]


def _gateway(
    version: str,
    namespace: str,
    name: str,
    istio: str,
    ports: tuple[tuple[str, int, int], ...],
    service_type: str,
) -> list[Obj]:
    selector = {"app": name, "istio": istio}
    inside = sorted({target for _, _, target in (*ports, ("status-port", 15021, 15021))})
    container: Obj = {
        "name": "istio-proxy",
        "image": f"{HUB}/proxyv2:{version}",
        "args": [
            "proxy",
            "router",
            "--domain",
            "$(POD_NAMESPACE).svc.cluster.local",
            "--log_output_level=default:info",
        ],
        "env": [
            {"name": "PILOT_CERT_PROVIDER", "value": "istiod"},
            {"name": "CA_ADDR", "value": f"istiod.{namespace}.svc:15012"},
            *_downward(),
        ],
        "ports": [
            *({"containerPort": port} for port in inside),
            {"name": "http-envoy-prom", "containerPort": 15090},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "initialDelaySeconds": 1,
            "periodSeconds": 2,
            "failureThreshold": 30,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": _locked_down(),
        "volumeMounts": [
            {"name": "config-volume", "mountPath": "/etc/istio/config"},
            {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"},
        ],
    }
    account = f"{name}-service-account"
    pod: Obj = {
        "serviceAccountName": account,
        "containers": [container],
        "volumes": [
            {"name": "config-volume", "configMap": {"name": "istio", "optional": True}},
            {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
        ],
    }
    component = "IngressGateways" if istio == "ingressgateway" else "EgressGateways"
    marked = {**labels(component, version), **selector}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": namespace, "labels": marked},
        },
        _deployment(
            name,
            namespace,
            marked,
            selector,
            pod,
            {"sidecar.istio.io/inject": "false", "istio.io/rev": "default"},
        ),
        _service(name, namespace, marked, selector, ports, service_type),
        _budget(name, namespace, marked, selector),
    ]


def _locked_down() -> Obj:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _downward() -> list[Obj]:
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
    }
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def _deployment(
    name: str,
    namespace: str,
    marked: Obj,
    selector: Obj,
    pod: Obj,
    extra_labels: dict[str, str] | None = None,
) -> Obj:
    template_labels = {**selector, **(extra_labels or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": marked},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": template_labels}, "spec": pod},
        },
    }


def _service(
    name: str,
    namespace: str,
    marked: Obj,
    selector: Obj,
    ports: tuple[tuple[str, int, int], ...],
    service_type: str,
) -> Obj:
    listed = [
        {"name": title, "port": port, "targetPort": target, "protocol": "TCP"}
        for title, port, target in ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": marked},
        "spec": {"type": service_type, "selector": selector, "ports": listed},
    }


def _budget(name: str, namespace: str, marked: Obj, selector: Obj) -> Obj:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "labels": marked},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": selector}},
    }
