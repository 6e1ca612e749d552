"""Pure: the containers and volumes that injection adds to a pod, by Istio minor.

Shapes: the `sidecar` template in files/injection-template.yaml of the chart istio-control/istio-discovery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.istiod.bootstrap import workload_name
from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.proxyconfig import proxy_config

Obj = dict[str, Any]

STARTUP_PROBE_SINCE = 20
DEFAULT_RESOURCES: Mapping[str, Any] = {
    "requests": {"cpu": "10m", "memory": "40Mi"},
    "limits": {"cpu": "2000m", "memory": "1024Mi"},
}


@dataclass(frozen=True)
class Settings:
    """What the injector's ConfigMap and the mesh say."""

    image: str
    """The sidecar's image, such as `docker.io/istio/proxyv2:1.19.3`."""
    policy: str = "enabled"
    never: tuple[Obj, ...] = ()
    always: tuple[Obj, ...] = ()
    namespace: str = "istio-system"
    revision: str = "default"
    trust_domain: str = "cluster.local"
    default_config: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    prometheus_merge: bool = True


def _frozen(given: Settings, number: int) -> str:
    """PROXY_CONFIG: what of the mesh's defaultConfig differs from the code's defaults, as JSON."""
    plain = proxy_config(minor(number))
    differs = {k: v for k, v in given.default_config.items() if v is not None and plain.get(k) != v}
    return json.dumps(differs, separators=(",", ":"))


def init(given: Settings, annotations: Mapping[str, str]) -> Obj:
    """The init container that would redirect the pod's traffic; the annotations steer it as in Istio."""
    excluded = ["15090", "15021", "15020"]
    if more := annotations.get("traffic.sidecar.istio.io/excludeInboundPorts"):
        excluded.append(more)
    return {
        "name": "istio-init",
        "image": given.image,
        "args": [
            "istio-iptables",
            *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"),
            *("-i", annotations.get("traffic.sidecar.istio.io/includeOutboundIPRanges", "*")),
            *("-x", annotations.get("traffic.sidecar.istio.io/excludeOutboundIPRanges", "")),
            *("-b", annotations.get("traffic.sidecar.istio.io/includeInboundPorts", "*")),
            *("-d", ",".join(excluded)),
            "--log_output_level=default:info",
        ],
        "resources": dict(given.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": False,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def proxy(pod: Obj, given: Settings, number: int) -> Obj:
    """The container istio-proxy of Istio 1.`number` for a pod whose namespace is set."""
    spec, meta = pod["spec"], pod["metadata"]
    apps = [c for c in spec.get("containers", []) if c["name"] != "istio-proxy"]
    ports = [p for c in apps for p in c.get("ports", [])]
    owner = workload_name(pod)
    namespace = meta["namespace"]
    plain = {
        "PILOT_CERT_PROVIDER": "istiod",
        "CA_ADDR": f"istiod.{given.namespace}.svc:15012",
        "PROXY_CONFIG": _frozen(given, number),
        "ISTIO_META_POD_PORTS": json.dumps(ports, separators=(",", ":")),
        "ISTIO_META_APP_CONTAINERS": ",".join(c["name"] for c in apps),
        "ISTIO_META_CLUSTER_ID": "Kubernetes",
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_WORKLOAD_NAME": owner,
        "ISTIO_META_OWNER": f"kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{owner}",
        "ISTIO_META_MESH_ID": given.trust_domain,
        "TRUST_DOMAIN": given.trust_domain,
    }
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
        "ISTIO_META_NODE_NAME": "spec.nodeName",
    }
    env: list[Obj] = [{"name": name, "value": value} for name, value in plain.items()]
    env += [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": path}}} for n, path in fields.items()]
    health: Obj = {"path": "/healthz/ready", "port": 15021}
    starts = number >= STARTUP_PROBE_SINCE
    timing: Obj = (
        {"periodSeconds": 15, "failureThreshold": 4}
        if starts
        else {"initialDelaySeconds": 1, "periodSeconds": 2, "failureThreshold": 30}
    )
    startup = {"httpGet": health, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 600}
    return {
        "name": "istio-proxy",
        "image": (meta.get("annotations") or {}).get("sidecar.istio.io/proxyImage", given.image),
        "args": [
            "proxy",
            "sidecar",
            "--domain",
            "$(POD_NAMESPACE).svc.cluster.local",
            "--proxyLogLevel=warning",
            "--proxyComponentLogLevel=misc:error",
            "--log_output_level=default:info",
        ],
        "ports": [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
        "env": env,
        "readinessProbe": {"httpGet": health, "timeoutSeconds": 3, **timing},
        **({"startupProbe": startup} if starts else {}),
        "resources": dict(given.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 1337,
            "runAsNonRoot": True,
            "runAsUser": 1337,
        },
        "volumeMounts": [
            {"mountPath": "/var/run/secrets/istio", "name": "istiod-ca-cert"},
            {"mountPath": "/var/lib/istio/data", "name": "istio-data"},
            {"mountPath": "/etc/istio/proxy", "name": "istio-envoy"},
            {"mountPath": "/var/run/secrets/tokens", "name": "istio-token"},
            {"mountPath": "/etc/istio/pod", "name": "istio-podinfo"},
        ],
    }


def volumes() -> list[Obj]:
    """The volumes that istio-proxy mounts."""
    token = {"path": "istio-token", "expirationSeconds": 43200, "audience": "istio-ca"}
    return [
        {"name": "istio-envoy", "emptyDir": {"medium": "Memory"}},
        {"name": "istio-data", "emptyDir": {}},
        {
            "name": "istio-podinfo",
            "downwardAPI": {
                "items": [
                    {"path": key, "fieldRef": {"fieldPath": f"metadata.{key}"}}
                    for key in ("labels", "annotations")
                ]
            },
        },
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
    ]
