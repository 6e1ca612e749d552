"""istiod's own metrics, under the names of the real one; served on port 15014 as Prometheus text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


INFO = _gauge("istio_build", "Istio component build info", "component", "tag")
CONVERGENCE_S = Histogram(
    "pilot_proxy_convergence_time",
    "Delay in seconds between config change and a proxy receiving all required configuration",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 3, 5, 10, 20, 30),
    registry=REGISTRY,
)
PUSH_S = Histogram(
    "pilot_xds_push_time",
    "Total time in seconds that it takes to translate for and write to one proxy",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 3, 5),
    registry=REGISTRY,
)
PUSHES = _counter("pilot_xds_pushes", "Build and send of lds, rds, cds and sds", "type")
CONNECTED = _gauge("pilot_xds", "Number of proxies that are served")
SERVICES = _gauge("pilot_services", "Total services known")
EVENTS = _counter("pilot_k8s_cfg_events", "Events from the Kubernetes API", "type", "event")
REJECTED_CONFIGS = _gauge("pilot_total_rejected_configs", "Problems in the objects of the last push")
REJECTED_XDS = _counter("pilot_total_xds_rejects", "Responses that a proxy rejected", "type")
INTERNAL_ERRORS = _counter("pilot_total_xds_internal_errors", "Errors while translating")
INJECTIONS = _counter("sidecar_injection_requests", "Total number of sidecar injection requests")
INJECTED = _counter("sidecar_injection_success", "Total number of successful sidecar injections")
NOT_INJECTED = _counter("sidecar_injection_skip", "Total number of skipped sidecar injections")
INJECTION_FAILURES = _counter("sidecar_injection_failure", "Total number of failed sidecar injections")
VALIDATION_PASSED = _counter("galley_validation_passed", "Resource is valid", "group", "version", "resource")
VALIDATION_FAILED = _counter(
    "galley_validation_failed", "Resource is invalid", "group", "version", "resource"
)
ISSUED = _counter("citadel_server_success_cert_issuance", "The number of certificates issued")
