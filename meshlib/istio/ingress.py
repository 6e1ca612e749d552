"""Where the ingress gateway answers: every candidate address, tried in order, with the reason why it serves
or not."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.kube import proxy
from meshlib.kube.client import Cluster, Obj
from meshlib.parameters import Config

SERVICE = "istio-ingressgateway"
CONNECT_S = 1.0
TRIED = ["Way", "Address", "Answers", "Reason"]


@dataclass(frozen=True)
class Ingress:
    """The address that was chosen (`host:port`, for HTTPS), how, and how the others did."""

    address: str
    way: str
    tried: pd.DataFrame = field(repr=False)
    _forward: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])

    def close(self) -> None:
        """End the port-forward, where there is one."""
        self._forward.close()


def candidates(
    service: Obj, nodes: list[Obj], explicit: str = "", port: int = 443
) -> list[tuple[str, str, str]]:
    """Pure: (way, `host:port` or "", why not) for each way to the gateway's Service port, best first."""
    found = []
    if explicit:
        host, colon, _ = explicit.partition(":")
        found.append(("parameter", explicit if colon and port == 443 else f"{host}:{port}", ""))
    spec = service["spec"]
    entry = next((each for each in spec["ports"] if each["port"] == port), None)
    if entry is None:
        return [*found, ("Service", "", f"the Service has no port {port}")]
    points = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    if points:
        found += [
            ("load balancer", f"{each.get('ip') or each.get('hostname')}:{port}", "") for each in points
        ]
    elif spec.get("type") == "LoadBalancer":
        found.append(
            ("load balancer", "", "EXTERNAL-IP is <pending>: nothing in the cluster hands out addresses")
        )
    if entry.get("nodePort"):
        addresses = {
            each["type"]: each["address"] for node in nodes for each in node["status"].get("addresses", [])
        }
        for kind in ("ExternalIP", "InternalIP"):
            if kind in addresses:
                found.append(("node port", f"{addresses[kind]}:{entry['nodePort']}", ""))
    if spec.get("clusterIP") not in (None, "", "None"):
        found.append(("cluster IP", f"{spec['clusterIP']}:{port}", ""))
    return found


def answers(address: str, timeout_s: float = CONNECT_S) -> str:
    """ "" when something accepts a connection at `host:port`, else the reason."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s):
            return ""
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__


def reach(cluster: Cluster, cfg: Config, *, port: int = 443, settle_s: float = 20.0) -> Ingress:
    """The first address that answers; when none does for `settle_s`, a port-forward to a gateway pod.

    The gateway opens a port only once a Gateway asks for it, so a fresh one needs a moment.
    """
    service = cluster.get("services", SERVICE, cfg.istio_namespace)
    ways = candidates(service, cluster.list("nodes"), cfg.ingress_address, port)
    deadline = time.monotonic() + settle_s

    def first() -> Ingress:
        chosen, rows = _try(ways)
        if chosen is None and time.monotonic() < deadline:
            raise wait.NotYet("; ".join(f"{way} {address}: {reason}" for way, address, _, reason in rows))
        way, address = chosen or ("port-forward", "")
        return Ingress(address, way, pd.DataFrame(rows, columns=TRIED))

    found = wait.until(first, "an address of the ingress gateway that answers", timeout_s=settle_s + 10)
    return found if found.address else _forwarded(cluster, cfg, _target(service, port), found.tried)


def _forwarded(cluster: Cluster, cfg: Config, port: int, tried: pd.DataFrame) -> Ingress:
    pod = gateway_pod(cluster, cfg.istio_namespace)
    stack = contextlib.ExitStack()
    address = stack.enter_context(proxy.forward(cluster, cfg.istio_namespace, pod, port))
    row = pd.DataFrame([("port-forward", address, "yes", f"to pod {pod}")], columns=TRIED)
    return Ingress(address, "port-forward", pd.concat([tried, row], ignore_index=True), stack)


def _try(ways: list[tuple[str, str, str]]) -> tuple[tuple[str, str] | None, list[tuple[str, str, str, str]]]:
    chosen: tuple[str, str] | None = None
    rows = []
    for way, address, why_not in ways:
        reason = why_not or answers(address)
        if not reason and chosen is None:
            chosen = (way, address)
        rows.append((way, address, "no" if reason else "yes", reason))
    return chosen, rows


def gateway_pod(cluster: Cluster, namespace: str) -> str:
    """The name of a running pod of the ingress gateway."""
    pods = cluster.list("pods", namespace, labels="istio=ingressgateway", fields="status.phase=Running")
    if not pods:
        raise ClusterError(
            f"no running pod with label istio=ingressgateway in {namespace}",
            fix=f"kubectl get pods -n {namespace} -l istio=ingressgateway",
        )
    return str(pods[0]["metadata"]["name"])


def _target(service: Obj, port: int) -> int:
    entry = next(each for each in service["spec"]["ports"] if each["port"] == port)
    target = entry.get("targetPort", port)
    return target if isinstance(target, int) else port
