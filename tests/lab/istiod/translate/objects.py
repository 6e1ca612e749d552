"""Short ways to write the API objects that the translator reads."""

from __future__ import annotations

import json
from typing import Any

Obj = dict[str, Any]
NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
SYSTEM = "istio-system"
APP = "shop"


def obj(kind: str, api: str, name: str, namespace: str, age: int = 0, **rest: Any) -> Obj:
    """An object; of two, the one with the smaller `age` was created first."""
    labels = rest.pop("labels", None)
    annotations = rest.pop("annotations", None)
    meta: Obj = {
        "name": name,
        "namespace": namespace,
        "uid": f"{kind}-{namespace}-{name}",
        "creationTimestamp": f"2026-01-01T00:{age // 60:02}:{age % 60:02}Z",
    }
    if labels:
        meta["labels"] = labels
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": api, "kind": kind, "metadata": meta, **rest}


def istio(kind: str, name: str, spec: Obj, namespace: str = APP, age: int = 0) -> Obj:
    group = {
        "Telemetry": "telemetry.istio.io/v1",
        "PeerAuthentication": SECURITY,
        "AuthorizationPolicy": SECURITY,
        "RequestAuthentication": SECURITY,
    }
    return obj(kind, group.get(kind, NETWORKING), name, namespace, age, spec=spec)


def proxy_pod(
    name: str,
    namespace: str,
    address: str,
    labels: dict[str, str],
    *,
    role: str = "router",
    image: str = "docker.io/istio/proxyv2:1.29.2",
    ports: dict[int, int] | None = None,
    app_ports: list[Obj] | None = None,
    inside: str = "",
    account: str = "default",
    config: str = "",
) -> Obj:
    """A pod with a proxy; for a sidecar also an application container."""
    containers: list[Obj] = []
    if role == "sidecar":
        containers.append({"name": "app", "image": "helenwami/gohttpserver:v1.3", "ports": app_ports or []})
    own = [{"containerPort": number} for number in (8080, 8443)] if role == "router" else []
    containers.append({"name": "istio-proxy", "image": image, "args": ["proxy", role], "ports": own})
    annotations = {
        "lab.meshlib.dev/inside": inside or address,
        "lab.meshlib.dev/ports": json.dumps({str(k): v for k, v in (ports or {}).items()}),
    }
    if config:
        annotations["proxy.istio.io/config"] = config
    return obj(
        "Pod",
        "v1",
        name,
        namespace,
        labels=labels,
        annotations=annotations,
        spec={"containers": containers, "serviceAccountName": account},
        status={"podIP": address, "hostIP": "127.9.0.1", "phase": "Running"},
    )


def gateway_pod(address: str = "127.9.1.1", **more: Any) -> Obj:
    labels = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    more = {"account": "istio-ingressgateway-service-account", **more}
    return proxy_pod("istio-ingressgateway-0", SYSTEM, address, labels, **more)


def gateway_service(**more: Any) -> Obj:
    return service(
        "istio-ingressgateway",
        SYSTEM,
        {"app": "istio-ingressgateway", "istio": "ingressgateway"},
        [("http2", 80, 8080), ("https", 443, 8443), ("tcp", 31400, 31400), ("tls", 15443, 15443)],
        **more,
    )


def service(
    name: str,
    namespace: str,
    selector: dict[str, str],
    ports: list[tuple[str, int, int]],
    *,
    age: int = 0,
    cluster_ip: str = "",
    **more: Any,
) -> Obj:
    """A Service; ports are (name, port, target port)."""
    listed = [
        {**({"name": n} if n else {}), "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports
    ]
    status = more.pop("status", {})
    spec = {"selector": selector, "ports": listed, "clusterIP": cluster_ip, **more}
    return obj("Service", "v1", name, namespace, age, spec=spec, status=status)


def endpoint_slice(name: str, namespace: str, ports: list[tuple[str, int]], pods: list[Obj]) -> Obj:
    """The EndpointSlice of a Service; ports are (name, true port)."""
    return obj(
        "EndpointSlice",
        "discovery.k8s.io/v1",
        f"{name}-1",
        namespace,
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=[{"name": n, "port": p, "protocol": "TCP"} for n, p in ports],
        endpoints=[
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": True},
                "targetRef": {
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "namespace": pod["metadata"]["namespace"],
                },
            }
            for pod in pods
        ],
    )


def app_pod(name: str, namespace: str, address: str, labels: dict[str, str]) -> Obj:
    """A pod without a proxy."""
    return obj(
        "Pod",
        "v1",
        name,
        namespace,
        labels=labels,
        spec={"containers": [{"name": "app", "image": "x"}], "serviceAccountName": "default"},
        status={"podIP": address, "hostIP": "127.9.0.1", "phase": "Running"},
    )


def mesh(text: str) -> Obj:
    return obj("ConfigMap", "v1", "istio", SYSTEM, data={"mesh": text})


def gateway(
    name: str, servers: list[Obj], namespace: str = APP, age: int = 0, selector: Obj | None = None
) -> Obj:
    chosen = {"istio": "ingressgateway"} if selector is None else selector
    return istio("Gateway", name, {"selector": chosen, "servers": servers}, namespace, age)


def server(hosts: list[str], number: int = 80, protocol: str = "HTTP", name: str = "", **rest: Any) -> Obj:
    port = {"number": number, "protocol": protocol, "name": name or f"{protocol.lower()}-{number}"}
    return {"hosts": hosts, "port": port, **rest}


def virtual_service(
    name: str,
    hosts: list[str],
    http: list[Obj] | None = None,
    namespace: str = APP,
    age: int = 0,
    gateways: list[str] | None = None,
    **rest: Any,
) -> Obj:
    spec: Obj = {"hosts": hosts, **rest}
    if gateways is not None:
        spec["gateways"] = gateways
    if http is not None:
        spec["http"] = http
    return istio("VirtualService", name, spec, namespace, age)


def to(host: str, port: int | None = None, subset: str = "", weight: int | None = None, **rest: Any) -> Obj:
    """A route destination."""
    destination: Obj = {"host": host}
    if port is not None:
        destination["port"] = {"number": port}
    if subset:
        destination["subset"] = subset
    found: Obj = {"destination": destination, **rest}
    if weight is not None:
        found["weight"] = weight
    return found
