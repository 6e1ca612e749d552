"""Clients that nobody here wrote: the official one (typed, dynamic, watch, stream) and lightkube."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import lightkube
import pytest
from anyio import to_thread
from kubernetes import client, config, dynamic, stream, watch
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from meshlib.lab import pki

from .conftest import Api, Obj
from .test_pods import echo, listening, pod

__all__ = ["pod"]
pytestmark = pytest.mark.anyio


@pytest.fixture
def kubeconfig(api: Api, certificates: pki.Pki, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(pki.kubeconfig(api.url, certificates, "admin"))
    return path


async def test_the_typed_client(api: Api, kubeconfig: Path) -> None:
    def scenario() -> list[str]:
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        meta = client.V1ObjectMeta(name="basket", labels={"app": "fruit"})
        core.create_namespaced_config_map("shop", client.V1ConfigMap(metadata=meta, data={"apples": "3"}))
        core.patch_namespaced_config_map("basket", "shop", {"data": {"pears": "1"}})
        found = core.list_namespaced_config_map("shop", label_selector="app=fruit").items
        assert found[0].data == {"apples": "3", "pears": "1"}
        with pytest.raises(client.ApiException) as caught:
            core.create_namespaced_config_map("shop", client.V1ConfigMap(metadata=meta))
        assert caught.value.status == 409
        version = core.list_namespaced_config_map("shop").metadata.resource_version
        core.delete_namespaced_config_map("basket", "shop")
        seen = watch.Watch().stream(
            core.list_namespaced_config_map, "shop", resource_version=version, timeout_seconds=1
        )
        return [f"{each['type']} {each['object'].metadata.name}" for each in seen]

    assert await to_thread.run_sync(scenario) == ["DELETED basket"]


async def test_the_dynamic_client_with_custom_resources(api: Api, kubeconfig: Path) -> None:
    def scenario() -> None:
        api_client = config.new_client_from_config(str(kubeconfig))
        gateways: Any = dynamic.DynamicClient(api_client).resources.get(
            api_version="networking.istio.io/v1", kind="Gateway"
        )
        body = {"metadata": {"name": "door"}, "spec": {"selector": {"istio": "ingressgateway"}}}
        made = gateways.create(
            body={"apiVersion": "networking.istio.io/v1", "kind": "Gateway", **body}, namespace="shop"
        )
        assert made.metadata.generation == 1
        change = {"metadata": {"name": "door"}, "spec": {"selector": {"istio": "other"}}}
        merge = "application/merge-patch+json"
        assert gateways.patch(body=change, namespace="shop", content_type=merge).metadata.generation == 2
        assert [each.metadata.name for each in gateways.get(namespace="shop").items] == ["door"]
        gateways.delete(name="door", namespace="shop")

    await to_thread.run_sync(scenario)


async def test_exec_and_port_forward_of_the_official_client(api: Api, kubeconfig: Path, pod: Obj) -> None:
    def execute() -> str:
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        command = [sys.executable, "-c", "print(6 * 7)"]
        called = stream.stream(
            core.connect_get_namespaced_pod_exec, "till", "shop", command=command, stdout=True, stderr=True
        )
        return str(called)

    def forward() -> bytes:
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        opened = stream.portforward(core.connect_get_namespaced_pod_portforward, "till", "shop", ports="80")
        connection = opened.socket(80)
        connection.settimeout(10)
        connection.sendall(b"hello")
        return bytes(connection.recv(100))

    assert await to_thread.run_sync(execute) == "42\n"
    async with listening(echo) as port:
        api.node.ports[80] = port
        assert await asyncio.wait_for(to_thread.run_sync(forward), 20) == b"HELLO"


async def test_lightkube(api: Api, kubeconfig: Path) -> None:
    def scenario() -> None:
        kube = lightkube.Client(config=lightkube.KubeConfig.from_file(kubeconfig), namespace="shop")
        kube.create(ConfigMap(metadata=ObjectMeta(name="rota"), data={"monday": "ann"}))
        kube.patch(ConfigMap, "rota", {"data": {"tuesday": "ben"}})
        assert kube.get(ConfigMap, "rota").data == {"monday": "ann", "tuesday": "ben"}
        applied = ConfigMap(metadata=ObjectMeta(name="rota"), data={"monday": "carl"})
        with pytest.raises(ApiError) as caught:
            kube.apply(applied, field_manager="chef")
        assert caught.value.status.code == 409
        kube.apply(applied, field_manager="chef", force=True)
        assert [each.metadata.name for each in kube.list(ConfigMap) if each.metadata] == ["rota"]
        verb, _ = next(iter(kube.watch(ConfigMap)))
        assert verb == "ADDED"
        kube.delete(ConfigMap, "rota")

    await to_thread.run_sync(scenario)
