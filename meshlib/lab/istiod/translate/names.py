"""The names that istiod gives to Envoy resources, and where their files are.

Source: istio-facts C1 (istio/istio pilot/pkg/model, pilot/pkg/networking/core).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshlib.lab.istiod.files import config_source

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
VIRTUAL_INBOUND = "virtualInbound"
VIRTUAL_OUTBOUND = "virtualOutbound"
HTTP_PROXY_ROUTE = "http_proxy"


def outbound(port: int, hostname: str, subset: str = "") -> str:
    """`outbound|80|v1|web.shop.svc.cluster.local`."""
    return f"outbound|{port}|{subset}|{hostname}"


def outbound_sni(port: int, hostname: str, subset: str = "") -> str:
    """The SNI of a cluster: `outbound_.80_.v1_.web.shop.svc.cluster.local`."""
    return f"outbound_.{port}_.{subset}_.{hostname}"


def inbound(port: int) -> str:
    """`inbound|81||`; the port is the pod's declared one."""
    return f"inbound|{port}||"


def listener(port: int) -> str:
    """`0.0.0.0_8443`."""
    return f"0.0.0.0_{port}"


def http_route(port: int) -> str:
    """The one route configuration of all plain HTTP servers on a gateway's port: `http.8080`."""
    return f"http.{port}"


def https_route(port: int, port_name: str, gateway: str, namespace: str) -> str:
    """`https.443.web.gateway.namespace`; the port is the Gateway's, not the listener's."""
    return f"https.{port}.{port_name}.{gateway}.{namespace}"


def virtual_host(hostname: str, port: int) -> str:
    """`shop.example:443`."""
    return f"{hostname}:{port}"


@dataclass(frozen=True)
class Paths:
    """Where the files of one proxy are; `root` is `<home>/xds/<pod uid>`.  Only names, nothing is
    touched.
    """

    root: str

    def route(self, name: str) -> dict[str, Any]:
        """The `ConfigSource` of a route configuration."""
        return config_source(self.root, "rds", name)

    def endpoints(self, name: str) -> dict[str, Any]:
        """The `ConfigSource` of a cluster's endpoints."""
        return config_source(self.root, "eds", name)

    def secret(self, name: str) -> dict[str, Any]:
        """The `ConfigSource` of a certificate or CA."""
        return config_source(self.root, "sds", name)
