"""Spans from a real Envoy, by each tracer that Istio configures, as Jaeger would show them."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib import wait
from meshlib.traces import Jaeger, UrlTransport

TYPE = "type.googleapis.com/envoy.config.trace.v3"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def zipkin(version: str) -> dict[str, Any]:
    config = {
        "@type": f"{TYPE}.ZipkinConfig",
        "collector_cluster": "zipkin",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": version,
        "trace_id_128bit": True,
        "shared_span_context": False,
    }
    return {"name": "envoy.tracers.zipkin", "typed_config": config}


OTLP = {
    "name": "envoy.tracers.opentelemetry",
    "typed_config": {
        "@type": f"{TYPE}.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "2s"},
        "service_name": "mesh-gate.lab",
    },
}
PROVIDERS = {"json": zipkin("HTTP_JSON"), "protobuf": zipkin("HTTP_PROTO"), "grpc": OTLP}


def bootstrap(ports: dict[str, int], store: dict[int, int]) -> dict[str, Any]:
    listeners = []
    for name, provider in PROVIDERS.items():
        route = {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200},
            "decorator": {"operation": f"shop:80/{name}*"},
        }
        manager = {
            "@type": HCM,
            "stat_prefix": name,
            "tracing": {"provider": provider, "random_sampling": {"value": 100}},
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": ports[name]}}
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        listeners.append({"name": name, "address": address, "filter_chains": [chain]})
    clusters = []
    for name, port in (("zipkin", store[9411]), ("otlp", store[4317])):
        endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
        cluster: dict[str, Any] = {
            "name": name,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
            },
        }
        if name == "otlp":
            options = {"@type": OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
            cluster["typed_extension_protocol_options"] = {
                OPTIONS.removeprefix("type.googleapis.com/"): options
            }
        clusters.append(cluster)
    soon = {f"tracing.{each}.flush_interval_ms": 100 for each in ("zipkin", "opentelemetry")}
    return {
        "node": {"id": "router~127.0.0.1~gate.lab~lab.svc.cluster.local", "cluster": "mesh-gate.lab"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": soon}]},
    }


@pytest.fixture
def gate(running: Any, tmp_path: Path) -> Iterator[dict[str, int]]:
    ports: dict[str, int] = {}
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PROVIDERS]
    for name, made in zip(PROVIDERS, held, strict=True):
        ports[name] = made.getsockname()[1]
        made.close()
    config = tmp_path / "envoy.yaml"
    config.write_text(yaml.safe_dump(bootstrap(ports, running.ports)))
    argv = [
        str(Path(sys.executable).parent / "envoy"),
        "-c",
        str(config),
        "-l",
        "error",
        "--use-dynamic-base-id",
    ]
    with subprocess.Popen(
        [*argv, "--concurrency", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:

        def up() -> None:
            if process.poll() is not None and process.stdout is not None:
                raise AssertionError(process.stdout.read().decode())
            try:
                socket.create_connection(("127.0.0.1", ports["json"]), timeout=1).close()
            except OSError as error:
                raise wait.NotYet(str(error)) from error

        try:
            wait.until(up, "Envoy", timeout_s=30)
            yield ports
        finally:
            process.kill()


@pytest.mark.lab
def test_spans_of_each_tracer_arrive(running: Any, gate: dict[str, int]) -> None:
    for port in gate.values():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=5) as answer:
            assert answer.status == 200
    client = Jaeger(UrlTransport(f"http://127.0.0.1:{running.ports[16686]}"))
    spans = client.wait_for("mesh-gate.lab", 0, traces=len(PROVIDERS), timeout_s=20)
    assert set(spans["operation"]) == {f"shop:80/{name}*" for name in PROVIDERS}
    assert set(spans["status"]) == {200}
    assert spans["request_id"].notna().all()
    assert spans["trace_id"].str.len().eq(32).all()
    assert (spans["duration_ms"] < 5000).all()
    assert set(spans["kind"]) <= {"server", "client"}
