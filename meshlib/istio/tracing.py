"""Tracing in the mesh: the backend behind the API server, what the mesh still lacks, and what the proxies
were told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pandas as pd

from meshlib import wait
from meshlib.errors import WaitTimeout
from meshlib.istio import ingress, jaeger, mesh, proxies
from meshlib.istio.manifest import minor_of
from meshlib.kube.client import Cluster, Obj
from meshlib.kube.proxy import ServiceProxy
from meshlib.parameters import Config
from meshlib.traces import Jaeger
from meshlib.traces.jaeger import BASE_PATHS

FLUSH_KEYS = ("tracing.zipkin.flush_interval_ms", "tracing.opentelemetry.flush_interval_ms")
FLUSH_DEFAULT_S = 5.0  # Envoy's own default for both tracers
STORE_S = 1.0
OWN_PROVIDER = "meshlib-zipkin"


def backend(cluster: Cluster, cfg: Config) -> Jaeger:
    """The Jaeger client, through the API server's proxy of the Service `tracing`."""
    proxy = ServiceProxy(cluster, cfg.istio_namespace, jaeger.QUERY_SERVICE, jaeger.QUERY_PORT)
    return Jaeger(proxy, base_paths=(cfg.jaeger_base_path, *BASE_PATHS))


def settle_s(cluster: Cluster, cfg: Config) -> float:
    """How long a span may take from the request until Jaeger finds it.

    The gateway's own flush interval, read from its admin port (5 s where nobody changed it), and a second
    for storage.
    """
    pod = ingress.gateway_pod(cluster, cfg.istio_namespace)
    entries = proxies.admin(cluster, cfg.istio_namespace, pod, "/runtime")["entries"]
    flush_s = [float(entries[key]["final_value"]) / 1000 for key in FLUSH_KEYS if key in entries]
    return max(flush_s, default=FLUSH_DEFAULT_S) + STORE_S


def needs_telemetry(cfg: Config) -> bool:
    """Whether a Telemetry resource is needed for any trace: since Istio 1.22 there is no default tracer."""
    return minor_of(cfg.istio_version) >= 22


def provider(config: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """The extension provider to use: the profile's own `jaeger` (since 1.25), else one for Jaeger's Zipkin
    port."""
    for each in config.get("extensionProviders") or []:
        if each.get("name") == jaeger.NAME:
            return dict(each)
    service = f"zipkin.{cfg.istio_namespace}.svc.cluster.local"
    return {"name": OWN_PROVIDER, "zipkin": {"service": service, "port": 9411}}


def readiness(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    """What tracing needs, one row each: Need, There, Found."""
    config = mesh.read(cluster, cfg.istio_namespace).config
    names = mesh.provider_names(config)
    chosen = sorted(set(_chosen(cluster.list("telemetries.telemetry.istio.io", cfg.istio_namespace))))
    tracer = ((config.get("defaultConfig") or {}).get("tracing") or {}).get("zipkin", {}).get("address", "")
    running = cluster.find("services", jaeger.QUERY_SERVICE, cfg.istio_namespace) is not None
    rows = [
        ("a backend", running, f"Service {jaeger.QUERY_SERVICE}" if running else "none"),
        ("a default tracer (until 1.21)", bool(tracer), tracer or "none"),
        ("a provider in the mesh configuration", bool(names), ", ".join(names)),
        ("a Telemetry resource that chooses one", bool(chosen), ", ".join(chosen) or "none"),
    ]
    return pd.DataFrame(
        [(need, "yes" if there else "no", found) for need, there, found in rows],
        columns=["Need", "There", "Found"],
    )


def is_on(cluster: Cluster, cfg: Config) -> bool:
    """Whether requests are traced now: a Telemetry resource chooses a provider, or the version has a default
    tracer."""
    telemetries = cluster.list("telemetries.telemetry.istio.io", cfg.istio_namespace)
    return not needs_telemetry(cfg) or any(_chosen(telemetries))


def _chosen(telemetries: list[Obj]) -> Iterator[str]:
    for each in telemetries:
        for tracing in each["spec"].get("tracing", []):
            for chosen in tracing.get("providers", []):
                yield chosen["name"]


def configured_sampling(cluster: Cluster, cfg: Config) -> set[float]:
    """The random sampling (per cent) of the gateway's HTTP listeners that send spans to a provider.

    Read from the running Envoy.  Without a provider Envoy still shows a share, and traces nothing.
    """
    pod = ingress.gateway_pod(cluster, cfg.istio_namespace)
    dump = proxies.admin(cluster, cfg.istio_namespace, pod, "/config_dump?resource=dynamic_listeners")
    return set(_random_sampling(dump))


def _random_sampling(node: object) -> Iterator[float]:
    if isinstance(node, dict):
        if isinstance(tracing := node.get("tracing"), dict) and "provider" in tracing:
            yield float(tracing.get("random_sampling", {}).get("value", 0.0))
        for value in node.values():
            yield from _random_sampling(value)
    elif isinstance(node, list):
        for value in node:
            yield from _random_sampling(value)


def until_configured(cluster: Cluster, cfg: Config, percent: float | None) -> float:
    """Wait until the gateway's Envoy samples `percent` (None: does not trace); returns the seconds that it
    took."""
    begin = time.monotonic()

    def probe() -> float:
        now = configured_sampling(cluster, cfg)
        if now != (set() if percent is None else {percent}):
            raise wait.NotYet(f"the gateway samples {sorted(now) or 'nothing'}")
        return time.monotonic() - begin

    wanted = "not to trace" if percent is None else f"to sample {percent:g} %"
    return wait.until(probe, f"the gateway {wanted}", timeout_s=cfg.timeout_s, interval_s=0.2)


def spans_each(cfg: Config) -> int:
    """How many spans one request through gateway and sidecar makes.

    Two: the gateway's and the sidecar's.  With a provider the gateway of Istio 1.26 and later adds one for
    its own call upstream.
    """
    return 3 if minor_of(cfg.istio_version) >= 26 else 2


def operation(cfg: Config, path: str) -> str:
    """The operation that istiod gives to an exact route to one destination:
    `<service>.<namespace>.svc…:<port><path>`."""
    return f"{cfg.app}.{cfg.namespace}.svc.cluster.local:{cfg.service_port}{path}"


def settled(
    backend: Jaeger, service: str, start_us: int, sent: int, each: int, timeout_s: float
) -> pd.DataFrame:
    """All spans since `start_us` once `sent` traces have `each` spans, else those that came until
    `timeout_s`."""
    try:
        return backend.wait_for(service, start_us, traces=sent, spans_each=each, timeout_s=timeout_s)
    except WaitTimeout:
        return backend.spans(service, start_us, time.time_ns() // 1000)
