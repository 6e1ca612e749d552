"""A lab as a cluster of somebody else: what is in it, and a gate before its API server that can close."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib.kube import client
from meshlib.kube.requests import call_of
from meshlib.lab import cluster
from meshlib.runbook import planned

RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
PASSING = ("events", "events.events.k8s.io")  # they end by themselves, an hour later


@dataclass(frozen=True)
class Lab:
    """A running lab, known by its folder and its kubeconfig only."""

    home: Path

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    def admin(self) -> client.Cluster:
        return client.connect(self.kubeconfig)

    def listing(self) -> list[str]:
        """Every object of every kind that can be listed, as `plural.group namespace/name`."""
        api = self.admin()
        groups = [("", "v1")]
        groups += [(g["name"], g["preferredVersion"]["version"]) for g in api.call("GET", "/apis")["groups"]]
        names = []
        for group, version in groups:
            served = api.call("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")["resources"]
            for kind in served:
                name = f"{kind['name']}.{group}" if group else kind["name"]
                if "/" in kind["name"] or "list" not in kind["verbs"] or name in PASSING:
                    continue
                metas = [obj["metadata"] for obj in api.list(name)]
                names += [f"{name} {meta.get('namespace', '')}/{meta['name']}" for meta in metas]
        return sorted(names)

    def parameters(self, path: Path, **more: Any) -> Path:
        """A file of parameters that names this lab as any other cluster is named."""
        values = {
            "target": "kubeconfig",
            "kubeconfig": str(self.kubeconfig),
            "context": "meshlib-lab",
            "confirm_context": "meshlib-lab",
            "install_method": "manifest",
        }
        path.write_text(yaml.safe_dump(values | more))
        return path

    def account(self, folder: Path, **more: Any) -> Path:
        """Make the account and the rights that `meshlib schedule cronjob` prints, and return the parameters
        that the CronJob's run would get, with a kubeconfig that holds the account's token."""
        api = self.admin()
        asked = self.parameters(folder / "asked.yaml", **{"install_method": "existing", **more})
        printed = planned.text("cronjob", asked, "06:17", zone="Etc/UTC", image="meshlib:latest", keep=30)
        objects = list(yaml.safe_load_all(printed))
        for obj in objects:
            if obj["kind"] in RIGHTS:
                api.create(obj)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = api.call("POST", "/api/v1/namespaces/meshlib/serviceaccounts/meshlib/token", body=review)
        document = yaml.safe_load(self.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token["status"]["token"]}
        document["contexts"][0]["name"] = document["current-context"] = "in-cluster"
        path = folder / "kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        (config,) = [obj for obj in objects if obj["kind"] == "ConfigMap"]
        values = yaml.safe_load(config["data"]["parameters.yaml"]) | {"kubeconfig": str(path)}
        (folder / "parameters.yaml").write_text(yaml.safe_dump(values))
        return folder / "parameters.yaml"


def start_as_ordinary_user(home: Path) -> None:
    """Start a lab that may not listen below port 1024: its ingress has no address, only node ports."""
    drop = ["setpriv", "--bounding-set", "-net_bind_service"] if os.geteuid() == 0 else []
    command = [*drop, sys.executable, "-m", "meshlib", "lab", "up"]
    environ = {**os.environ, "MESHLIB_HOME": str(home)}
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab that is up, with nothing in it. A module with `LOW_PORTS = False` gets an ordinary user's."""
    with tempfile.TemporaryDirectory(prefix="meshlib-e2e-") as folder:
        home = Path(folder) / "lab"
        low_ports = getattr(request.module, "LOW_PORTS", True) or not shutil.which("setpriv")
        (cluster.start if low_ports else start_as_ordinary_user)(home)
        try:
            yield Lab(home)
        finally:
            cluster.stop(home)


class Gate:
    """A TLS proxy before the API server.  It lets writes pass up to a certain one, then answers nothing."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        document = yaml.safe_load(lab.kubeconfig.read_text())
        cluster_entry = document["clusters"][0]["cluster"]
        pki = lab.home / "pki"
        self._upstream = int(cluster_entry["server"].rpartition(":")[2])
        self._outward = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._outward.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inward.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self._wanted, self._times = "", 0
        self.passed: list[str] = []
        self.closed = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._inward)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(30)
        cluster_entry["server"] = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.kubeconfig = folder / "kubeconfig.gate"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def open(self, before: str = "", times: int = 1) -> None:
        """Let all pass until a write begins with `before` (`verb resource namespace/name`) for the n-th time;
        that one is held back, and everything after it."""
        self._wanted, self._times, self.passed = before, times, []
        self.closed.clear()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    async def _serve(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        far, ask = await asyncio.open_connection(
            "127.0.0.1", self._upstream, ssl=self._outward, server_hostname="localhost"
        )
        back = asyncio.create_task(_pump(far, answer))
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await near.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split()
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                body = await near.readexactly(int(length[1])) if length else b""
                if not self._may_pass(method, target):
                    await near.read()  # until whoever asked is gone
                    break
                ask.write(head + body)
                await ask.drain()
                if re.search(rb"(?i)\r\nupgrade:", head):
                    await _pump(near, ask)
                    break
        back.cancel()
        ask.close()
        answer.close()

    def _may_pass(self, method: str, target: str) -> bool:
        path, _, query = target.partition("?")
        call = call_of(method, path)
        if self.closed.is_set():
            return False
        if not call.writes or "dryRun=" in query:
            return True
        write = f"{call.verb} {call.resource} {call.namespace}/{call.name}"
        if self._wanted and write.startswith(self._wanted):
            self._times -= 1
            if not self._times:
                self.closed.set()
                return False
        self.passed.append(write)
        return True


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()


@pytest.fixture(scope="module")
def gate(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    ready = Gate(lab, tmp_path_factory.mktemp("gate"))
    yield ready
    ready.end()
