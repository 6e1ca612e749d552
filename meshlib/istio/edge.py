"""The gateway's TLS, tried on a site of its own beside the published one: clients, rotation, expiry."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from meshlib import tls
from meshlib.istio import ingress, objects
from meshlib.istio.objects import Obj
from meshlib.istio.site import Site
from meshlib.kube.client import Cluster
from meshlib.load import LoadResult
from meshlib.parameters import Config
from meshlib.probe import Evidence
from meshlib.trust import trust_file

NAME = "edge-trial"
HANDSHAKES_PER_S = 50.0  # each request of a rotation's load pays for a handshake of its own
BANDS = ((0.0, "expired"), (7.0, "replace now"), (30.0, "replace soon"), (math.inf, "fine"))
"""Days left below which a certificate is in each band; with 90 days, renewal usually starts at 30."""


def host(cfg: Config) -> str:
    """The trial's own name, so that the published site is not touched."""
    return f"edge.{cfg.host}"


def site(cluster: Cluster, cfg: Config, ca: str) -> Site:
    """The trial's site at the published one's address; `ca` (PEM) is what its clients trust."""
    address = ingress.reach(cluster, cfg)
    return Site(host(cfg), address, trust_file(ca), f"{ingress.SERVICE}.{cfg.istio_namespace}")


def gateway(cfg: Config, *, redirect: bool = False, **tls_settings: Any) -> Obj:
    """A Gateway for the trial's host: HTTPS with `tls_settings` (as in `servers[].tls`), and plain HTTP."""
    made = objects.gateway(NAME, cfg.namespace, hosts=[host(cfg)], credential=NAME)
    https, http = made["spec"]["servers"]
    https["tls"] = {"mode": "SIMPLE", "credentialName": NAME, **tls_settings}
    if not redirect:
        del http["tls"]
    return made


def route(cfg: Config) -> Obj:
    """The trial's VirtualService: exactly /healthz."""
    http = objects.exact_routes(["/healthz"], cfg.app, cfg.service_port)
    return objects.virtual_service(NAME, cfg.namespace, hosts=[host(cfg)], gateways=[NAME], http=http)


def secret(cfg: Config, pair: tls.Pair, *, client_ca: str = "") -> Obj:
    """The trial's Secret in the gateway's namespace; `client_ca` (PEM) is what MUTUAL checks clients with."""
    made = objects.tls_secret(NAME, cfg.istio_namespace, pair.certificate, pair.key)
    if client_ca:
        made["data"] |= objects.encoded({"ca.crt": client_ca})
    return made


def ask(site: Site, clients: Mapping[str, Mapping[str, Any]]) -> dict[str, Evidence]:
    """One request by each client; its options are those of `probe.fetch`."""
    return {name: site.get("/healthz", **options) for name, options in clients.items()}


def table(seen: Mapping[str, Evidence]) -> pd.DataFrame:
    """What each client got: Client, Answer, TLS, Cipher, Says."""
    rows = [
        (name, each.status or "refused", each.tls_version, each.cipher, each.error)
        for name, each in seen.items()
    ]
    return pd.DataFrame(rows, columns=["Client", "Answer", "TLS", "Cipher", "Says"])


@dataclass(frozen=True)
class Rotation:
    """What load and handshakes saw while the certificate was replaced."""

    load: LoadResult
    served: pd.DataFrame = field(repr=False)
    took_ms: float

    @property
    def failures(self) -> int:
        """Requests without an answer, or with one that is no 200."""
        numbers = self.load.numbers
        return numbers.requests - numbers.statuses.get("200", 0)


def rotate(site: Site, cfg: Config, change: Callable[[], object], wanted: str) -> Rotation:
    """Call `change` while load runs, each request over a new connection, until `wanted` is served.

    `wanted` is a fingerprint.  `served` has a row each time another certificate is seen: After (ms since the
    change), SHA-256.  `took_ms` is nan when the new one was not seen while the load ran.
    """
    results: list[LoadResult] = []
    options: dict[str, Any] = {"connections": cfg.load_connections, "duration_s": cfg.load_duration_s}
    options |= {"rate": HANDSHAKES_PER_S, "keepalive": False}
    runner = threading.Thread(target=lambda: results.append(site.load("/healthz", **options)), daemon=True)
    runner.start()
    begin = time.monotonic()
    seen: list[tuple[float, str]] = []
    changed = 0.0
    while runner.is_alive():
        now = time.monotonic()
        if not changed and now - begin > cfg.load_duration_s / 3:
            change()
            changed = time.monotonic()
        found = site.get("/healthz").fingerprint
        if found and (not seen or seen[-1][1] != found):
            seen.append((time.monotonic(), found))
        runner.join(0.02)
    rows = [(round((at - changed) * 1000), found) for at, found in seen]
    took = next((float(ms) for ms, found in rows if found == wanted), math.nan)
    return Rotation(results[0], pd.DataFrame(rows, columns=["After (ms)", "SHA-256"]), took)


def band(days: float) -> str:
    """What to do with a certificate that has so many days left."""
    if math.isnan(days):
        return "not seen"
    return next(words for limit, words in BANDS if days < limit)


def expiry(sites: Sequence[Site]) -> pd.DataFrame:
    """The certificates that are served now: Host, Days left, Band, Client says."""
    rows = []
    for each in sites:
        seen = each.get("/healthz")
        rows.append((each.host, round(seen.days_left, 1), band(seen.days_left), seen.error or "accepted"))
    return pd.DataFrame(rows, columns=["Host", "Days left", "Band", "Client says"])
