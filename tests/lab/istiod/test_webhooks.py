from __future__ import annotations

import base64
import json
from typing import Any

from meshlib.lab.istiod.sidecar import Settings
from meshlib.lab.istiod.webhooks import injection, joined, validation

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


def test_findings_deny_in_istiods_words() -> None:
    gateway = {"kind": "Gateway", "metadata": {"name": "g"}}
    answer = validation(request(gateway), lambda obj: (["a is wrong"], ["b is odd"]))["response"]
    assert not answer["allowed"]
    assert answer["status"]["message"] == "configuration is invalid: a is wrong"
    assert answer["warnings"] == ["b is odd"]


def test_several_findings_are_listed_as_go_lists_them() -> None:
    assert joined(["a", "b"]) == "2 errors occurred:\n\t* a\n\t* b\n\n"


def test_a_deletion_is_never_judged() -> None:
    def judge(obj: dict[str, Any]) -> tuple[list[str], list[str]]:
        raise AssertionError

    answer = validation({"uid": "u-1", "operation": "DELETE", "object": None}, judge)
    assert answer["response"]["allowed"]
