"""Tracing and access logs: which provider, how many requests, which tags, and what a log line says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from meshlib.lab.istiod.translate import Paths, Problem, World, proxies, translate
from meshlib.wait import NotYet, until
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, rule, shop
from tests.lab.istiod.translate.rig import Ask, Rig
from tests.lab.istiod.translate.seed import seed

Obj = dict[str, Any]
OLD, NEW = "docker.io/istio/proxyv2:1.19.3", "docker.io/istio/proxyv2:1.29.2"
PROVIDERS = """
defaultConfig:
  tracing:
    sampling: 20
    customTags:
      mesh: {literal: {value: one}}
extensionProviders:
- name: Zip
  zipkin: {service: zipkin.istio-system.svc.cluster.local, port: 9411, maxTagLength: 99}
- name: otel
  opentelemetry: {service: zipkin.istio-system.svc.cluster.local, port: 4317}
- name: otel-http
  opentelemetry:
    service: zipkin.istio-system.svc.cluster.local
    port: 4318
    http: {path: /v1/traces, timeout: 3s}
- name: gone
  zipkin: {service: nobody.istio-system.svc.cluster.local, port: 9411}
- name: skywalking
  skywalking: {service: zipkin.istio-system.svc.cluster.local, port: 11800}
"""


def world(image: str = NEW, *objects: Obj, mesh: str = PROVIDERS) -> World:
    made = seed(image)
    made.put(o.mesh(mesh))
    made.put(
        o.service("zipkin", o.SYSTEM, {}, [("http", 9411, 9411), ("grpc", 4317, 4317), ("h", 4318, 4318)])
    )
    for obj in objects:
        made.put(obj)
    return made


def managers(made: World) -> tuple[dict[str, Obj], list[Problem]]:
    """The connection manager of each side, and all problems."""
    found: dict[str, Obj] = {}
    problems: list[Problem] = []
    for proxy in proxies(made):
        resources = translate(made, proxy, Paths("/x"))
        problems += resources.problems
        for listener in resources.listeners.values():
            for chain in listener["filter_chains"]:
                for item in chain["filters"]:
                    if item["name"].endswith("http_connection_manager"):
                        side = "gateway" if proxy.role == "router" else listener["name"]
                        found[side] = item["typed_config"]
    return found, problems


def telemetry(
    tracing: list[Obj], namespace: str = o.SYSTEM, name: str = "t", age: int = 0, **more: Any
) -> Obj:
    return o.istio("Telemetry", name, {"tracing": tracing, **more}, namespace, age)


def test_without_any_telemetry_the_mesh_s_sampling_holds_and_the_bootstrap_s_tracer() -> None:
    found, _ = managers(world(OLD))
    tracing = found["gateway"]["tracing"]
    assert tracing["random_sampling"] == {"value": 20.0}
    assert "provider" not in tracing
    tags = [tag["tag"] for tag in tracing["custom_tags"]]
    assert tags == sorted(tags)
    assert {"mesh", "istio.mesh_id", "istio.canonical_service"} <= set(tags)


def test_istiod_s_own_default_where_the_mesh_says_nothing() -> None:
    found, _ = managers(world(OLD, mesh="{}"))
    assert found["gateway"]["tracing"]["random_sampling"] == {"value": 1.0}
    found, _ = managers(world(OLD, mesh="enableTracing: false"))
    assert "tracing" not in found["gateway"]


def test_zipkin_by_minor() -> None:
    rules = [{"providers": [{"name": "zip"}], "randomSamplingPercentage": 0}]
    found, _ = managers(world(OLD, telemetry(rules)))
    tracing = found["gateway"]["tracing"]
    config = tracing["provider"]["typed_config"]
    assert config["collector_cluster"] == "outbound|9411||zipkin.istio-system.svc.cluster.local"
    assert config["collector_endpoint"] == "/api/v2/spans"
    assert tracing["random_sampling"] == {"value": 0.0}
    assert tracing["max_path_tag_length"] == 99
    assert "spawn_upstream_span" not in tracing
    found, _ = managers(world(NEW, telemetry(rules)))
    tracing = found["gateway"]["tracing"]
    assert "collector_service" in tracing["provider"]["typed_config"]
    assert tracing["spawn_upstream_span"]
    assert "spawn_upstream_span" not in found["virtualInbound"]["tracing"]


def test_opentelemetry_over_grpc_and_http() -> None:
    found, _ = managers(world(NEW, telemetry([{"providers": [{"name": "otel"}]}])))
    config = found["virtualInbound"]["tracing"]["provider"]["typed_config"]
    assert config["service_name"] == "gohttpserver.httpserver-istio"
    assert config["grpc_service"]["envoy_grpc"]["cluster_name"].startswith("outbound|4317||")
    found, _ = managers(world(NEW, telemetry([{"providers": [{"name": "otel-http"}]}])))
    uri = found["gateway"]["tracing"]["provider"]["typed_config"]["http_service"]["http_uri"]
    assert uri["uri"].endswith("/v1/traces")
    assert uri["timeout"] == "3s"


@pytest.mark.parametrize("name", ["unknown", "gone", "skywalking"])
def test_a_provider_that_cannot_be_had_switches_tracing_off_and_is_said(name: str) -> None:
    found, problems = managers(world(NEW, telemetry([{"providers": [{"name": name}]}])))
    assert "tracing" not in found["gateway"]
    assert any(name in problem.text or name in problem.object for problem in problems)


def test_a_rate_without_any_provider_switches_tracing_off() -> None:
    found, _ = managers(world(OLD, telemetry([{"randomSamplingPercentage": 100}])))
    assert "tracing" not in found["gateway"]


def test_the_narrower_object_wins_field_by_field_and_modes_are_kept_apart() -> None:
    inner = "httpserver-istio"
    found, _ = managers(
        world(
            NEW,
            telemetry([{"providers": [{"name": "zip"}], "randomSamplingPercentage": 5}]),
            telemetry(
                [
                    {"match": {"mode": "SERVER"}, "randomSamplingPercentage": 70},
                    {"match": {"mode": "CLIENT"}, "disableSpanReporting": True},
                ],
                inner,
            ),
            telemetry([{"randomSamplingPercentage": 1}], inner, "younger", age=9),
        )
    )
    assert found["gateway"]["tracing"]["random_sampling"] == {"value": 5.0}
    assert found["virtualInbound"]["tracing"]["random_sampling"] == {"value": 70.0}
    assert "tracing" not in found["virtualOutbound"]


def test_custom_tags_of_every_kind() -> None:
    tags = {
        "l": {"literal": {"value": "v"}},
        "e": {"environment": {"name": "E", "defaultValue": "d"}},
        "h": {"header": {"name": "x-h"}},
        "istio.namespace": {"literal": {"value": "mine"}},
    }
    rules = [{"providers": [{"name": "zip"}], "customTags": tags}]
    found, _ = managers(world(NEW, telemetry(rules)))
    given = {tag["tag"]: tag for tag in found["gateway"]["tracing"]["custom_tags"]}
    assert given["e"]["environment"] == {"name": "E", "default_value": "d"}
    assert given["h"]["request_header"] == {"name": "x-h"}
    assert given["istio.namespace"]["literal"] == {"value": "mine"}
    assert "mesh" not in given


def test_access_logs_by_telemetry() -> None:
    logging = {
        "accessLogging": [
            {"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}
        ]
    }
    found, _ = managers(world(NEW, o.istio("Telemetry", "a", logging, o.SYSTEM)))
    (log,) = found["gateway"]["access_log"]
    assert log["typed_config"]["path"] == "/dev/stdout"
    assert log["filter"]["extension_filter"]["typed_config"]["expression"] == "response.code >= 400"
    off = {"accessLogging": [{"disabled": True}]}
    mesh = "accessLogFile: /dev/stdout\ndefaultProviders: {accessLogging: [envoy]}"
    found, _ = managers(world(NEW, o.istio("Telemetry", "a", off, "httpserver-istio"), mesh=mesh))
    assert "access_log" in found["gateway"]
    assert "access_log" not in found["virtualInbound"]


def test_what_is_no_yaml_is_said() -> None:
    _, problems = managers(world(NEW, mesh="a: [b"))
    assert any("failed to read mesh config" in problem.text for problem in problems)


LINE = re.compile(
    r'\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "GET /logged HTTP/1\.1" 200 - via_upstream - "-" 0 \d+ \d+ \d+ '
    r'"[\d.]+" "-" "[0-9a-f-]{36}" "shop\.example" "127\.0\.0\.1:\d+" '
    r"outbound\|80\|\|other\.shop\.svc\.cluster\.local 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ - -"
)


@pytest.mark.lab
def test_a_line_of_the_log_is_istio_s(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        file = tmp_path / "access.log"
        rig.apply([GATEWAY, shop(rule(OTHER)), o.mesh(f"accessLogFile: {file}\n")])
        rig.check(Ask("/logged", to=OTHER))
        rig.check(Ask("/", host="nobody.example", status=404))

        def lines() -> list[str]:
            found = file.read_text().splitlines() if file.exists() else []
            if len(found) < 2:
                raise NotYet(f"{found}")
            return found

        # Envoy writes its file logs every ten seconds, or when it ends.
        rig.gateway.close()
        first, second = until(lines, "two lines of the access log", timeout_s=5)
        assert LINE.fullmatch(first), first
        assert " 404 NR route_not_found " in second
    finally:
        rig.close()
