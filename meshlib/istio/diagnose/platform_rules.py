"""Modes 6 and 11: addresses that nobody hands out, ports without a name, versions that do not fit."""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.istio import support
from meshlib.istio.diagnose.injection_rules import injected
from meshlib.istio.diagnose.model import (
    INFO,
    WARNING,
    Finding,
    Obj,
    Snapshot,
    has_proxy,
    labels,
    name_of,
    selects,
    space,
    yaml_mapping,
)

PREFIXES = (
    "http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis", "udp",
)  # fmt: skip
BASE_PATH = "/jaeger"


def pending(snapshot: Snapshot) -> Iterator[Finding]:
    """Services of type LoadBalancer in front of gateways that have no address."""
    for service in snapshot.all("Service"):
        spec = service["spec"]
        selector = spec.get("selector") or {}
        waits = spec.get("type") == "LoadBalancer" and not (
            service.get("status", {}).get("loadBalancer", {}).get("ingress")
        )
        if waits and selector and any(map(has_proxy, snapshot.pods(selector, space(service)))):
            name, namespace = service["metadata"]["name"], space(service)
            node = next((each["nodePort"] for each in spec.get("ports") or [] if each.get("nodePort")), None)
            https = next((each for each in spec.get("ports") or [] if each["port"] == 443), None)
            handler = spec.get("loadBalancerClass")
            evidence = "status.loadBalancer is empty" + (f"; loadBalancerClass {handler}" if handler else "")
            number = (https or {}).get("nodePort", node)
            instead = f"   # or use the node port {number}, or install MetalLB" if number else ""
            yield Finding(
                6,
                WARNING,
                f"the EXTERNAL-IP of Service {namespace}/{name} is <pending>",
                f"type LoadBalancer, {evidence}",
                "nothing in this cluster hands out addresses; the gateway itself is not at fault",
                f"kubectl port-forward -n {namespace} service/{name} 8443:443{instead}",
            )


def unnamed_ports(snapshot: Snapshot) -> Iterator[Finding]:
    """Ports of Services in the mesh whose protocol Istio has to guess."""
    for namespace in snapshot.all("Namespace"):
        if not injected(namespace):
            continue
        for service in snapshot.all("Service", namespace["metadata"]["name"]):
            for index, port in enumerate(service["spec"].get("ports") or []):
                named = (
                    str(port.get("name", "")).partition("-")[0] in PREFIXES or port.get("name") in PREFIXES
                )
                if named or port.get("appProtocol") or port.get("protocol", "TCP") != "TCP":
                    continue
                name = service["metadata"]["name"]
                path = f"/spec/ports/{index}/appProtocol"
                patch = f'[{{"op":"add","path":"{path}","value":"http"}}]'
                yield Finding(
                    11,
                    INFO,
                    f"port {port['port']} of Service {name_of(service)} does not say its protocol",
                    f"name: {port.get('name') or 'none'}, appProtocol: none",
                    "proxies sniff the first bytes of every connection; server-first protocols hang",
                    f"kubectl patch service {name} -n {space(service)} --type json -p '{patch}'",
                    "IST0118",
                )


def versions(snapshot: Snapshot) -> Iterator[Finding]:
    """A pair of Istio and Kubernetes that Istio does not support."""
    minor = snapshot.istio_minor()
    if minor is None or not snapshot.kubernetes:
        return
    verdict = support.verdict(f"1.{minor}", snapshot.kubernetes)
    if verdict in ("too old", "too new"):
        low, high = support.MATRIX[minor].supported
        yield Finding(
            11,
            WARNING,
            f"Kubernetes {snapshot.kubernetes} is {verdict} for Istio 1.{minor}",
            f"Istio 1.{minor} supports 1.{low} to 1.{high} (table of {support.AS_OF})",
            "nobody tests this pair; install and upgrades may fail in unforeseen ways",
            "istioctl x precheck",
            "IST0142" if verdict == "too old" else "",
        )


def base_path(snapshot: Snapshot) -> Iterator[Finding]:
    """A Jaeger that does not serve under /jaeger, where istioctl, Kiali and meshlib look for it."""
    for pod in snapshot.pods({"app": "jaeger"}, snapshot.root):
        found = _base_path(snapshot, pod)
        if found is not None and found.rstrip("/") != BASE_PATH:
            yield Finding(
                11,
                WARNING,
                f"Jaeger serves under {found or '/'} and not under {BASE_PATH}",
                f"pod {name_of(pod)}",
                f"clients that ask for {BASE_PATH}/api get 404",
                f"kubectl edit deployment,configmap -l app=jaeger -n {snapshot.root}",
            )
            return


def _base_path(snapshot: Snapshot, pod: Obj) -> str | None:
    for container in pod["spec"]["containers"]:
        for entry in container.get("env") or []:
            if entry["name"] == "QUERY_BASE_PATH":
                return str(entry.get("value", ""))
    for volume in pod["spec"].get("volumes") or []:
        named = (volume.get("configMap") or {}).get("name", "")
        for text in ((snapshot.find("ConfigMap", named, space(pod)) or {}).get("data") or {}).values():
            query = (yaml_mapping(text).get("extensions") or {}).get("jaeger_query") or {}
            if query:
                return str(query.get("base_path", ""))
    return None


def unused_selectors(snapshot: Snapshot) -> Iterator[Finding]:
    """Policies whose selector matches no pod of their namespace, and so do nothing."""
    for kind, mode in (
        ("AuthorizationPolicy", 10),
        ("RequestAuthentication", 10),
        ("PeerAuthentication", 8),
        ("Telemetry", 1),
    ):
        for policy in snapshot.all(kind):
            wanted = ((policy.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
            where = None if space(policy) == snapshot.root else space(policy)
            if not wanted or snapshot.pods(wanted, where):
                continue
            elsewhere = {space(pod) for pod in snapshot.all("Pod") if selects(wanted, labels(pod))}
            also = f"; pods with these labels are in {', '.join(sorted(elsewhere))}" if elsewhere else ""
            name = policy["metadata"]["name"]
            shown = ",".join(f"{key}={value}" for key, value in wanted.items())
            yield Finding(
                mode,
                WARNING,
                f"{kind} {name_of(policy)} selects no pod",
                f"no pod in {space(policy)} has the labels {shown}{also}",
                "a policy holds for pods of its own namespace, one in the root namespace for all",
                f"kubectl edit {kind.lower()} {name} -n {space(policy)}",
                "IST0127",
            )
