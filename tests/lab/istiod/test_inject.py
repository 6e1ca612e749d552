from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import pytest
import yaml

from meshlib.errors import LabError, Unsupported
from meshlib.lab.istiod.inject import injected, patch, required, settings
from meshlib.lab.istiod.sidecar import Settings

OLD = Settings(image="docker.io/istio/proxyv2:1.19.3")
NEW = Settings(image="docker.io/istio/proxyv2:1.27.9")


@pytest.fixture
def plain_pod() -> dict[str, Any]:
    """A pod of the seed's Deployment as the API server hands it to the webhook."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "gohttpserver-6bd6d4ddb7-",
            "labels": {"app": "gohttpserver", "pod-template-hash": "6bd6d4ddb7"},
            "annotations": {"prometheus.io/port": "server-port", "prometheus.io/scrape": "true"},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": "gohttpserver-6bd6d4ddb7", "controller": True}
            ],
        },
        "spec": {
            "containers": [
                {
                    "name": "gohttpserver",
                    "image": "helenwami/gohttpserver:v1.3",
                    "ports": [{"name": "server-port", "containerPort": 81, "protocol": "TCP"}],
                }
            ],
        },
    }


def names(containers: list[dict[str, Any]]) -> list[str]:
    return [c["name"] for c in containers]


def test_an_old_minor_adds_a_container_and_an_init_container(plain_pod: dict[str, Any]) -> None:
    before = copy.deepcopy(plain_pod)
    pod = injected(plain_pod, "httpserver-istio", OLD)
    assert plain_pod == before
    assert names(pod["spec"]["containers"]) == ["gohttpserver", "istio-proxy"]
    assert names(pod["spec"]["initContainers"]) == ["istio-init"]
    assert pod["spec"]["initContainers"][0]["args"][0] == "istio-iptables"


def test_a_new_minor_adds_a_native_sidecar_before_other_init_containers(plain_pod: dict[str, Any]) -> None:
    plain_pod["spec"]["initContainers"] = [{"name": "migrate", "image": "a"}]
    pod = injected(plain_pod, "httpserver-istio", NEW)
    assert names(pod["spec"]["containers"]) == ["gohttpserver"]
    assert names(pod["spec"]["initContainers"]) == ["istio-init", "istio-proxy", "migrate"]
    assert pod["spec"]["initContainers"][1]["restartPolicy"] == "Always"
    assert pod["spec"]["initContainers"][1]["startupProbe"]["failureThreshold"] == 600


def test_labels_and_annotations_are_istios(plain_pod: dict[str, Any]) -> None:
    meta = injected(plain_pod, "httpserver-istio", OLD)["metadata"]
    assert meta["labels"]["security.istio.io/tlsMode"] == "istio"
    assert meta["labels"]["service.istio.io/canonical-name"] == "gohttpserver"
    assert meta["labels"]["service.istio.io/canonical-revision"] == "latest"
    notes = meta["annotations"]
    assert notes["istio.io/rev"] == "default"
    assert notes["kubectl.kubernetes.io/default-container"] == "gohttpserver"
    assert {k: v for k, v in notes.items() if k.startswith("prometheus.io")} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "15020",
        "prometheus.io/path": "/stats/prometheus",
    }
    status = json.loads(notes["sidecar.istio.io/status"])
    assert status["containers"] == ["istio-proxy"]
    assert status["revision"] == "default"


def test_the_sidecar_knows_its_workload_and_the_frozen_proxy_config(plain_pod: dict[str, Any]) -> None:
    mesh = "defaultConfig: {tracing: {sampling: 40}, discoveryAddress: istiod.istio-system.svc:15012}"
    given = settings(None, mesh, "docker.io/istio/pilot:1.19.3", "istio-system")
    env = {e["name"]: e for e in injected(plain_pod, "shop", given)["spec"]["containers"][1]["env"]}
    assert json.loads(env["PROXY_CONFIG"]["value"]) == {"tracing": {"sampling": 40}}
    assert env["ISTIO_META_WORKLOAD_NAME"]["value"] == "gohttpserver"
    assert env["ISTIO_META_OWNER"]["value"].endswith("/namespaces/shop/deployments/gohttpserver")
    assert env["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, True),
        ({"labels": {"sidecar.istio.io/inject": "false"}}, False),
        ({"labels": {"sidecar.istio.io/inject": "true"}}, True),
        ({"annotations": {"sidecar.istio.io/inject": "no"}}, False),
        (
            {
                "labels": {"sidecar.istio.io/inject": "true"},
                "annotations": {"sidecar.istio.io/inject": "false"},
            },
            True,
        ),
    ],
)
def test_the_label_beats_the_annotation(
    plain_pod: dict[str, Any], change: dict[str, Any], wanted: bool
) -> None:
    plain_pod["metadata"] |= change
    assert required(plain_pod, "shop", OLD) is wanted


def test_host_network_and_system_namespaces_are_left_alone(plain_pod: dict[str, Any]) -> None:
    assert not required(plain_pod, "kube-system", OLD)
    plain_pod["spec"]["hostNetwork"] = True
    assert not required(plain_pod, "shop", OLD)


def test_never_inject_selectors_hold(plain_pod: dict[str, Any]) -> None:
    injector = {
        "data": {"config": "{neverInjectSelector: [{matchExpressions: [{key: app, operator: Exists}]}]}"}
    }
    given = settings(injector, "", "docker.io/istio/pilot:1.19.3", "istio-system")
    assert not required(plain_pod, "shop", given)


def test_the_pods_own_settings_of_istio_proxy_win(plain_pod: dict[str, Any]) -> None:
    resources = {"limits": {"memory": "1Gi"}}
    plain_pod["spec"]["containers"].append({"name": "istio-proxy", "image": "auto", "resources": resources})
    proxy = injected(plain_pod, "shop", OLD)["spec"]["containers"][1]
    assert proxy["resources"] == resources
    assert proxy["image"] == OLD.image


def test_an_unknown_template_is_refused(plain_pod: dict[str, Any]) -> None:
    plain_pod["metadata"]["annotations"]["inject.istio.io/templates"] = "gateway"
    with pytest.raises(Unsupported, match='requested template "gateway" not found'):
        injected(plain_pod, "shop", OLD)


@pytest.mark.parametrize("text", ["- a", "[" * 100_000, "text"], ids=["list", "deep", "text"])
def test_a_proxy_config_that_is_no_mapping_is_refused(plain_pod: dict[str, Any], text: str) -> None:
    plain_pod["metadata"]["annotations"]["proxy.istio.io/config"] = text
    with pytest.raises((yaml.YAMLError, LabError), match=r"no mapping|exceeded max depth"):
        injected(plain_pod, "shop", OLD)


def test_the_image_comes_from_the_values_else_from_istiods_own() -> None:
    own = "registry.example.test/istio/pilot:1.30.1"
    assert settings(None, "", own, "i").image == "registry.example.test/istio/proxyv2:1.30.1"
    injector = {"data": {"values": "{global: {hub: docker.io/istio, tag: 1.19.3, proxy: {image: proxyv2}}}"}}
    assert settings(injector, "", own, "i").image == "docker.io/istio/proxyv2:1.19.3"


def test_the_patch_leads_from_one_to_the_other(plain_pod: dict[str, Any]) -> None:
    pod = injected(plain_pod, "shop", NEW)
    assert jsonpatch.apply_patch(plain_pod, patch(plain_pod, pod)) == pod
    assert patch(pod, pod) == []
