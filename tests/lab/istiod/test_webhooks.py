from __future__ import annotations

import base64
import json
from typing import Any

from meshlib.lab.istiod.sidecar import Settings
from meshlib.lab.istiod.webhooks import injection, validation

GIVEN = Settings(image="docker.io/istio/proxyv2:1.19.3")


def request(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"uid": "u-1", "namespace": "shop", "operation": "CREATE", "object": obj, **more}


def test_a_pod_gets_a_json_patch() -> None:
    pod = {"metadata": {"generateName": "a-"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    answer = injection(request(pod), GIVEN)["response"]
    assert (answer["uid"], answer["allowed"], answer["patchType"]) == ("u-1", True, "JSONPatch")
    paths = [operation["path"] for operation in json.loads(base64.b64decode(answer["patch"]))]
    assert {"/metadata/labels", "/metadata/annotations", "/spec/containers", "/spec/initContainers"} <= {
        *paths
    }


def test_a_pod_that_asks_to_be_left_alone_is() -> None:
    pod = {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}, "spec": {"containers": []}}
    assert injection(request(pod), GIVEN)["response"] == {"uid": "u-1", "allowed": True}


def test_a_template_that_is_not_there_denies_the_pod() -> None:
    notes = {"inject.istio.io/templates": "grpc-agent"}
    pod = {"metadata": {"annotations": notes}, "spec": {"containers": []}}
    answer = injection(request(pod), GIVEN)["response"]
    assert not answer["allowed"]
    assert 'requested template "grpc-agent" not found' in answer["status"]["message"]


def gateway(**server: Any) -> dict[str, Any]:
    port = {"name": "http", "number": 80, "protocol": "HTTP"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "g", "namespace": "shop"},
        "spec": {"servers": [{"hosts": ["a.example"], "port": port, **server}]},
    }


def test_a_good_object_passes() -> None:
    assert validation(request(gateway()))["response"] == {"uid": "u-1", "allowed": True}


def test_findings_deny_in_istiods_words() -> None:
    answer = validation(request(gateway(hosts=[])))["response"]
    assert not answer["allowed"]
    message = answer["status"]["message"]
    assert message == "configuration is invalid: server config must contain at least one host"


def test_what_the_lab_lacks_is_denied_too() -> None:
    patch = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "e"}}
    answer = validation(request({**patch, "spec": {}}))["response"]
    assert not answer["allowed"]
    assert "not supported by the embedded lab" in answer["status"]["message"]


def test_a_warning_is_handed_on() -> None:
    answer = validation(
        request(gateway(tls={"httpsRedirect": True}, port={"name": "h", "number": 443, "protocol": "HTTPS"}))
    )
    assert "warnings" in answer["response"]


def test_a_deletion_is_never_judged() -> None:
    answer = validation({"uid": "u-1", "operation": "DELETE", "object": None})
    assert answer["response"]["allowed"]
