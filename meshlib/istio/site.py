"""The published site as a client sees it: right name, right address, right root of trust, in every
request."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlib import load
from meshlib.istio import credential, ingress
from meshlib.kube.client import Cluster
from meshlib.parameters import Config
from meshlib.probe import Evidence, fetch


@dataclass(frozen=True)
class Site:
    """`https://<host>` at the ingress address, verified against the lab's CA.

    `gateway` is the gateway's service name in traces.
    """

    host: str
    ingress: ingress.Ingress
    cacert: Path = field(repr=False)
    gateway: str

    def get(self, path: str, **options: Any) -> Evidence:
        """One request with its evidence; `options` as in `probe.fetch`."""
        return fetch(
            f"https://{self.host}{path}", address=self.ingress.address, cacert=self.cacert, **options
        )

    def url(self, path: str) -> str:
        """The URL for clients that cannot send a name to another port: it names the ingress port where that
        is not 443."""
        port = "" if self.ingress.port == 443 else f":{self.ingress.port}"
        return f"https://{self.host}{port}{path}"

    @property
    def resolve(self) -> str:
        """`HOST:PORT:ADDRESS`, as `curl --resolve` takes it."""
        return f"{self.host}:{self.ingress.port}:{socket.gethostbyname(self.ingress.host)}"

    def load(self, path: str, **options: Any) -> load.LoadResult:
        """Many requests; `options` as in `load.run`."""
        return load.run(self.url(path), resolve=[self.resolve], cacert=self.cacert, **options)

    def curl(self, path: str, *flags: str) -> str:
        """The same request as a curl command."""
        more = "".join(f" {flag}" for flag in flags)
        return f"curl -v --cacert ca.crt --resolve {self.resolve}{more} {self.url(path)}"


def pod_address(cluster: Cluster, cfg: Config, path: str) -> tuple[str, str]:
    """(`ip:port`, "") of a ready pod of the HTTP server that answers `path` with 200 from here, in plain
    HTTP and past the gateway, else ("", why not).

    Addresses are those of the Service's EndpointSlices.  A port-forward is no such way: it goes through the
    API server, which would be measured instead.
    """
    labels = f"kubernetes.io/service-name={cfg.app}"
    reasons = []
    for part in cluster.list("endpointslices.discovery.k8s.io", cfg.namespace, labels=labels):
        for endpoint in part.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            address = f"{endpoint['addresses'][0]}:{part['ports'][0]['port']}"
            if reason := ingress.answers(address):
                reasons.append(f"{address}: {reason}")
                continue
            seen = fetch(f"http://{address}{path}", address=address)
            if seen.status == 200:
                return address, ""
            reasons.append(f"{address}: {seen.outcome}")
    return "", "; ".join(reasons) or f"the Service {cfg.app} has no ready endpoint"


def visit(cluster: Cluster, cfg: Config) -> Site:
    """The site that the parameters name.  Raises `ClusterError` or `WaitTimeout` where it cannot be
    reached."""
    address, ca = ingress.reach(cluster, cfg), credential.ca_file(cluster, cfg)
    return Site(cfg.host, address, ca, f"{ingress.SERVICE}.{cfg.istio_namespace}")
