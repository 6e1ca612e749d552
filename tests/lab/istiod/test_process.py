"""The istiod process against the bare API server: what it writes, serves and survives."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from meshlib.errors import ClusterError
from meshlib.istio import manifest
from meshlib.lab.istiod.kubeapi import KubeApi, read_kubeconfig
from meshlib.wait import NotYet, until

pytestmark = pytest.mark.lab

Obj = dict[str, Any]
SYSTEM = "istio-system"
PLURALS = {"ConfigMap": "configmaps", "Namespace": "namespaces", "ServiceAccount": "serviceaccounts"}


class Cluster:
    """A bare API server and an istiod, each a process of its own."""

    def __init__(self, folder: Path, loopback: str) -> None:
        self.home = folder / "home"
        self.folder = folder
        self.xds = folder / "xds"
        self.address = loopback
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def spawn(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *argv], env={**os.environ, **(env or {})}, stdout=log, stderr=log
            )

    def start_api(self, port: int = 0) -> None:
        (self.home / "kubeconfig").unlink(missing_ok=True)
        self.spawn("api", ["meshlib.lab.api", "--home", str(self.home), "--port", str(port)])
        until(lambda: there(self.home / "kubeconfig"), "the API server", timeout_s=30)

    def call(self, method: str, path: str, body: Obj | None = None, kind: str = "application/json") -> Obj:
        async def once() -> Obj:
            api = KubeApi(read_kubeconfig(self.home / "kubeconfig"))
            try:
                return await api.call(method, path, body, kind=kind)
            finally:
                await api.close()

        return asyncio.run(once())

    def create(self, obj: Obj) -> Obj:
        group, _, version = obj["apiVersion"].rpartition("/")
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        namespace = obj["metadata"].get("namespace")
        inside = f"/namespaces/{namespace}" if namespace else ""
        return self.call("POST", f"{root}{inside}/{plural(obj['kind'])}", obj)

    def start_istiod(self) -> None:
        token = self.call("POST", f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/istiod/token", TOKEN_REQUEST)
        config = yaml.safe_load((self.home / "kubeconfig").read_text())
        config["users"][0]["user"] = {"token": token["status"]["token"]}
        kubeconfig = self.folder / "istiod.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        env = {
            "KUBECONFIG": str(kubeconfig),
            "MESHLIB_XDS_DIR": str(self.xds),
            "HOST": self.address,
            "POD_NAME": "istiod-1",
            "POD_NAMESPACE": SYSTEM,
        }
        self.spawn("istiod", ["meshlib.lab.istiod", "discovery"], env)
        until(lambda: self.ready(), "istiod", timeout_s=30)

    def ready(self) -> None:
        if self.processes["istiod"].poll() is not None:
            raise AssertionError((self.folder / "istiod.log").read_text())
        try:
            code = httpx.get(f"http://{self.address}:8080/ready", trust_env=False).status_code
        except httpx.TransportError as error:
            raise NotYet(str(error)) from error
        if code != 200:
            raise NotYet(f"status {code}")

    def webhook(self, path: str, request: Obj) -> Obj:
        """A call as the API server makes it: over TLS, verified with the caBundle of the configuration."""
        name = "mutatingwebhookconfigurations/istio-sidecar-injector"
        found = self.call("GET", f"/apis/admissionregistration.k8s.io/v1/{name}")
        bundle = base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"]).decode()
        with httpx.Client(verify=ssl.create_default_context(cadata=bundle), trust_env=False) as client:
            answer = client.post(
                f"https://{self.address}:15017{path}",
                json={"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request},
                extensions={"sni_hostname": f"istiod.{SYSTEM}.svc"},
            )
        response: Obj = answer.json()["response"]
        return response

    def down(self) -> None:
        for process in self.processes.values():
            process.terminate()
            process.wait(20)


TOKEN_REQUEST = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "TokenRequest",
    "spec": {"audiences": []},
}


def plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


def there(path: Path) -> None:
    if not path.exists() or not path.read_text():
        raise NotYet(f"no {path.name}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, module_loopback: str) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("istiod"), module_loopback)
    try:
        made.start_api()
        for obj in manifest.objects("1.19.3", SYSTEM):
            if obj["kind"] not in ("Deployment", "PodDisruptionBudget"):
                made.create(obj)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "istiod-1", "namespace": SYSTEM},
            "spec": {
                "serviceAccountName": "istiod",
                "containers": [{"name": "discovery", "image": "docker.io/istio/pilot:1.19.3"}],
            },
        }
        made.create(pod)
        made.start_istiod()
        yield made
    finally:
        made.down()


def gateway_pod(cluster: Cluster, pod: Obj) -> str:
    """Create a proxy pod and give it its address, as scheduler and kubelet would; its uid."""
    status = pod.pop("status")
    pod["metadata"].pop("uid")
    pod["metadata"].pop("ownerReferences")
    made = cluster.create({"apiVersion": "v1", "kind": "Pod", **pod})
    path = f"/api/v1/namespaces/{SYSTEM}/pods/{made['metadata']['name']}/status"
    cluster.call("PATCH", path, {"status": status}, "application/merge-patch+json")
    return str(made["metadata"]["uid"])


def test_it_writes_its_ca_the_roots_the_leaders_and_the_bundles(cluster: Cluster) -> None:
    secret = cluster.call("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/istio-ca-secret")
    assert secret["type"] == "istio.io/ca-root"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})

    def root() -> Obj:
        try:
            return cluster.call("GET", "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert")
        except ClusterError as error:
            raise NotYet(str(error)) from error

    pem = base64.b64decode(secret["data"]["ca-cert.pem"]).decode()
    assert until(root, "the root in a new namespace")["data"]["root-cert.pem"] == pem
    found = cluster.call("GET", f"/api/v1/namespaces/{SYSTEM}/configmaps")["items"]
    names = {item["metadata"]["name"] for item in found}
    assert {"istio-leader", "istio-gateway-status-leader", "istio-namespace-controller-election"} <= names


def test_a_root_that_somebody_changed_or_deleted_comes_back(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{SYSTEM}/configmaps/istio-ca-root-cert"
    right = until(lambda: present(cluster, path), "the root")["data"]
    cluster.call("PATCH", path, {"data": {"root-cert.pem": "x"}}, "application/merge-patch+json")

    def restored() -> None:
        if present(cluster, path)["data"] != right:
            raise NotYet("still changed")

    until(restored, "the root's text")
    cluster.call("DELETE", path)
    until(restored, "the root")


def present(cluster: Cluster, path: str) -> Obj:
    try:
        return cluster.call("GET", path)
    except ClusterError as error:
        raise NotYet(str(error)) from error


def test_the_webhooks_speak_tls_that_the_bundle_verifies(cluster: Cluster) -> None:
    pod = {"metadata": {"generateName": "a-"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    answer = cluster.webhook("/inject", {"uid": "u", "namespace": "shop", "object": pod})
    operations = {o["path"]: o["value"] for o in json.loads(base64.b64decode(answer["patch"]))}
    images = [c["image"] for c in operations["/spec/containers"]]
    assert images == ["x", "docker.io/istio/proxyv2:1.19.3"]


def test_a_proxy_gets_its_files_and_loses_them_with_its_pod(
    cluster: Cluster, gateway_pod_object: Obj
) -> None:
    uid = gateway_pod(cluster, gateway_pod_object)
    until(lambda: there(cluster.xds / uid / "lds.json"), "the listeners")
    certificate = json.loads((cluster.xds / uid / "sds" / "default.json").read_text())
    assert "BEGIN CERTIFICATE" in json.dumps(certificate)
    clusters = json.loads((cluster.xds / uid / "cds.json").read_text())["resources"]
    assert [c["type"] for c in clusters if c["name"] == "zipkin"] == ["STATIC"]
    [entry] = httpx.get(f"http://{cluster.address}:15014/debug/syncz", trust_env=False).json()
    assert entry["listener_sent"]
    assert "listener_acked" not in entry  # no Envoy has started
    name = gateway_pod_object["metadata"]["name"]
    cluster.call("DELETE", f"/api/v1/namespaces/{SYSTEM}/pods/{name}?gracePeriodSeconds=0")

    def gone() -> None:
        if (cluster.xds / uid).exists():
            raise NotYet("its files are still there")

    until(gone, "the end of the files")


@pytest.fixture
def gateway_pod_object(gateway_pod: Obj) -> Obj:
    return gateway_pod


def test_it_outlives_a_restart_of_the_api_server(cluster: Cluster, gateway_pod_object: Obj) -> None:
    port = int(
        yaml.safe_load((cluster.home / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"][-5:]
    )
    cluster.processes["api"].terminate()
    cluster.processes["api"].wait(20)
    cluster.start_api(port)
    uid = gateway_pod(cluster, gateway_pod_object)
    until(lambda: there(cluster.xds / uid / "lds.json"), "the listeners", timeout_s=20)
    assert cluster.processes["istiod"].poll() is None


def test_a_mesh_text_that_is_no_yaml_leaves_the_last_good_one(cluster: Cluster) -> None:
    patch = {"data": {"mesh": "a: ["}}
    path = f"/api/v1/namespaces/{SYSTEM}/configmaps/istio"
    cluster.call("PATCH", path, patch, "application/merge-patch+json")

    def logged() -> None:
        if "failed to read istio from ConfigMap" not in (cluster.folder / "istiod.log").read_text():
            raise NotYet("nothing in the log")

    until(logged, "the complaint")
    pod = {"metadata": {"generateName": "a-"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    assert cluster.webhook("/inject", {"uid": "u", "namespace": "shop", "object": pod})["patch"]


def test_it_stops_when_told(cluster: Cluster) -> None:
    process = cluster.processes["istiod"]
    process.terminate()
    assert process.wait(10) == 0
