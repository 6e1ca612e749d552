"""The names that istiod gives to Envoy resources, and safe file names for them.

Source: istio-facts C1 (istio/istio pilot/pkg/model, pilot/pkg/networking/core).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import quote

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


def file_name(resource: str) -> str:
    """A file name for a resource name: percent-encoded, no longer than a file system allows, one to one."""
    encoded = quote(resource, safe="-_.*:|").lstrip(".")
    if len(encoded) > 180:
        encoded = f"{encoded[:120]}~{hashlib.sha256(resource.encode()).hexdigest()[:32]}"
    return f"{encoded}.json"


@dataclass(frozen=True)
class Paths:
    """Where the files of one proxy are; `root` is `<home>/xds/<pod uid>`.  Only names, nothing is touched."""

    root: str

    @property
    def listeners(self) -> str:
        return f"{self.root}/lds.json"

    @property
    def clusters(self) -> str:
        return f"{self.root}/cds.json"

    def route(self, name: str) -> str:
        return f"{self.root}/rds/{file_name(name)}"

    def endpoints(self, name: str) -> str:
        return f"{self.root}/eds/{file_name(name)}"

    def secret(self, name: str) -> str:
        return f"{self.root}/sds/{file_name(name)}"
