"""A bare API server as a process of its own, and kubeconfigs for it that are wrong in one way each."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib import parameters, tls
from meshlib.kube import client
from meshlib.kube.client import Cluster, Obj
from meshlib.lab.api.tokens import TokenIssuer

CONTEXT = "meshlib-lab"
ACCOUNT = {"name": "nobody", "namespace": "default"}
NODE: Obj = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
NAMESPACE: Obj = {"apiVersion": "v1", "kind": "Namespace"}
READY: Obj = {
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"containerRuntimeVersion": "containerd://2.1.4"},
    }
}


@dataclass
class Api:
    """The server's home, a connection as its admin, and kubeconfigs made from the admin's."""

    home: Path
    admin: Cluster
    folder: Path
    made: list[Obj] = field(default_factory=list)

    @property
    def version(self) -> str:
        """The server's counter of writes: each write of any object makes it grow."""
        return str(self.admin.call("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"])

    def kubeconfig(self, name: str, **changes: str) -> Path:
        """The admin's with another `server`, `ca` (PEM) or `token`."""
        document = yaml.safe_load((self.home / "kubeconfig").read_text())
        cluster = document["clusters"][0]["cluster"]
        cluster["server"] = changes.get("server", cluster["server"])
        if "ca" in changes:
            cluster.pop("certificate-authority", None)
            cluster["certificate-authority-data"] = base64.b64encode(changes["ca"].encode()).decode()
        if "token" in changes:
            document["users"][0]["user"] = {"token": changes["token"]}
        path = self.folder / f"{name}.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def token(self, lifetime_s: int) -> str:
        """A token of an account that has no rights; one that ended when `lifetime_s` is below 0."""
        account = self.admin.get("serviceaccounts", ACCOUNT["name"], ACCOUNT["namespace"])
        key = (self.home / "pki" / "apiserver.key").read_bytes()
        issuer = TokenIssuer.from_pem(key, lambda resource, namespace, name: account)
        return issuer.issue(ACCOUNT["namespace"], ACCOUNT["name"], [], lifetime_s)[0]

    def config(self, kubeconfig: Path | None = None, **values: Any) -> parameters.Config:
        """Parameters with target kubeconfig and consent to write."""
        named = {
            "target": "kubeconfig",
            "kubeconfig": str(kubeconfig or self.home / "kubeconfig"),
            "context": CONTEXT,
            "confirm_context": CONTEXT,
            "install_method": "istioctl",
        }
        return parameters.complete({**named, **values})

    def stranger(self, other: str) -> str:
        """A CA certificate (PEM) that nobody used here."""
        return tls.authority(other, 1).certificate

    def add(self, *objects: Obj) -> None:
        """Create objects, as somebody else would."""
        self.made += [self.admin.create(obj) for obj in objects]


@pytest.fixture(scope="session")
def api_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("api") / "home"
    command = [sys.executable, "-m", "meshlib.lab.api", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("https://127.0.0.1:")
        yield home
        process.terminate()


@pytest.fixture
def api(api_home: Path, tmp_path: Path) -> Iterator[Api]:
    """The server with one ready node and an account without rights; what a test adds is deleted.

    Namespaces stay: the bare server has no controller that would empty them.
    """
    admin = client.connect(api_home / "kubeconfig")
    if admin.find("nodes", "node-1") is None:
        admin.create(NODE)
        admin.merge("nodes", "node-1/status", READY, manager="test")
        meta = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": dict(ACCOUNT)}
        admin.create(meta)
        for name in ("istio-system", "httpserver-istio"):
            labels = {"app.kubernetes.io/managed-by": "meshlib"} if name != "istio-system" else {}
            admin.create({**NAMESPACE, "metadata": {"name": name, "labels": labels}})
    ready = Api(api_home, admin, tmp_path)
    yield ready
    for obj in (each for each in reversed(ready.made) if each["kind"] != "Namespace"):
        meta = obj["metadata"]
        admin.delete(admin.resource_of(obj).name, meta["name"], meta.get("namespace"))
