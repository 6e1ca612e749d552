"""The manifests of Jaeger by version, storage and base path."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from meshlib.istio import jaeger

V1, V2 = "1.70.0", "2.20.0"
BADGER = {"keys": "/badger/key", "values": "/badger/data"}


def parts(version: str, **options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the pod's spec, version 2's configuration or {})."""
    made = jaeger.objects(version, "istio-system", **options)
    for obj in made:
        kubernetes_validate.validate(obj, "1.36", strict=True)
    kinds = {obj["kind"]: obj for obj in made}
    config = kinds.get("ConfigMap", {"data": {"config.yaml": "{}"}})["data"]["config.yaml"]
    return kinds["Deployment"]["spec"]["template"]["spec"], yaml.safe_load(config)


def env(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}


@pytest.mark.parametrize(("given", "served"), [("/jaeger", "/jaeger"), ("/a/b", "/a/b"), ("", "/")])
def test_the_base_path_of_both_versions(given: str, served: str) -> None:
    assert env(parts(V1, base_path=given)[0])["QUERY_BASE_PATH"] == served
    assert parts(V2, base_path=given)[1]["extensions"]["jaeger_query"]["base_path"] == served


def test_memory_has_no_volume_for_data() -> None:
    pod, config = parts(V2)
    assert [volume["name"] for volume in pod["volumes"]] == ["config"]
    assert config["extensions"]["jaeger_storage"]["backends"] == {
        "memory": {"memory": {"max_traces": 100_000}}
    }
    assert "volumes" not in parts(V1)[0]
    assert env(parts(V1)[0])["SPAN_STORAGE_TYPE"] == "memory"


@pytest.mark.parametrize("version", [V1, V2])
def test_badger_writes_below_a_volume_that_its_user_may_write(version: str) -> None:
    pod, config = parts(version, storage="badger")
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["data"] == "/badger"
    assert {"name": "data", "emptyDir": {}} in pod["volumes"]
    assert pod["securityContext"] == {"fsGroup": 10001}
    if version == V2:
        (backend,) = config["extensions"]["jaeger_storage"]["backends"].values()
        assert backend == {"badger": {"directories": BADGER, "ephemeral": False}}
    else:
        told = env(pod)
        assert (told["SPAN_STORAGE_TYPE"], told["BADGER_EPHEMERAL"]) == ("badger", "false")
        assert {told["BADGER_DIRECTORY_KEY"], told["BADGER_DIRECTORY_VALUE"]} == set(BADGER.values())


def test_what_reads_and_what_writes_name_the_same_storage() -> None:
    for storage in ("memory", "badger"):
        _, config = parts(V2, storage=storage)
        names = {
            config["extensions"]["jaeger_query"]["storage"]["traces"],
            config["exporters"]["jaeger_storage_exporter"]["trace_storage"],
            *config["extensions"]["jaeger_storage"]["backends"],
        }
        assert names == {storage}
