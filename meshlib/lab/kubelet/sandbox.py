"""What surrounds the containers of a pod: addresses and true ports, volumes, tokens, environment."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from pathlib import Path

from meshlib.lab import network, pki
from meshlib.lab.kubelet import environment, podspec, volumes
from meshlib.lab.kubelet.context import Context, Obj
from meshlib.lab.kubelet.launch import Launch

TOKEN_RENEWAL_S = 2400.0  # of the hour that a token holds


class Sandbox:
    """Belongs to one pod; `pod` is its latest object, which the worker keeps up to date."""

    def __init__(self, context: Context, pod: Obj) -> None:
        self.context = context
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.folder: Path = context.pod_folder(self.uid)
        self.address, self.inside = context.addresses.take(self.uid)
        self._volumes: dict[str, Path] = {}
        self._ports: dict[int, int] = {}
        self._inside_ports: dict[int, int] = {}
        self._minted: dict[str, tuple[str, float]] = {}  # audience → token and when it was made

    def make_folders(self) -> None:
        for folder in (self.folder, self.folder / "logs", self.folder / "serviceaccount"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if podspec.roles(self.pod):
            self.context.xds_folder(self.uid).mkdir(mode=0o700, parents=True, exist_ok=True)

    def choose_ports(self) -> dict[str, str]:
        """Find ports that can be bound; the annotations that say where the pod listens."""
        declared = podspec.declared_ports(self.pod)
        injected = "sidecar" in podspec.roles(self.pod)
        shared = self.context.subnet.shared
        taken = self.context.taken_ports(self.uid)
        self._ports = network.true_ports(
            declared, self.address, self.inside if injected and not shared else None, taken
        )
        if shared and injected:
            taken |= set(self._ports.values())
            self._inside_ports = network.true_ports(declared, self.inside, None, taken)
        self.context.ports[self.uid] = {*self._ports.values(), *self._inside_ports.values()}
        notes = {podspec.INSIDE: self.inside, podspec.PORTS: _json(self._ports)}
        return notes | ({podspec.INSIDE_PORTS: _json(self._inside_ports)} if self._inside_ports else {})

    def release(self) -> None:
        """Give the address and the ports back."""
        self.context.addresses.release(self.uid)
        self.context.ports.pop(self.uid, None)

    def listening(self, container: Obj, port: int) -> tuple[str, int]:
        """Where a container really listens on a port that it declares."""
        if self._behind_proxy(container):
            return self.inside, self._inside_ports.get(port, self._ports.get(port, port))
        return self.address, self._ports.get(port, port)

    def reach(self, port: int) -> tuple[str, int]:
        """Where the pod really listens on a port; Envoy's admin and outbound ports are inside."""
        if port in (15000, 15001):
            return self.inside, self._ports.get(port, port)
        return self.address, self._ports.get(port, port)

    def launch(self, container: Obj) -> Launch:
        """What a program may know; raises `ConfigProblem`."""
        pod = self._with_addresses()
        namespace = pod["metadata"]["namespace"]
        lookup = self.context.lookup(namespace)
        mounts = volumes.mounts(container, self._volumes)
        self.write_hosts()
        behind = self._behind_proxy(container)
        base = self._base_environment(behind)
        env = environment.resolve(pod, container, lookup, base, self.context.capacity)
        return Launch(
            pod=pod,
            container=container,
            host=self.inside if behind else self.address,
            ports=self._inside_ports if behind and self._inside_ports else self._ports,
            env=env,
            mounts=mounts,
            folder=self.folder,
            xds=self.context.xds_folder(self.uid),
        )

    def write_hosts(self) -> None:
        """Bring the file of MESHLIB_HOSTS up to date: the names of Services, for programs that read it."""
        text = environment.hosts(self.context.registry.list("services"), self.pod["metadata"]["namespace"])
        (self.folder / "hosts").write_text(text)

    def _behind_proxy(self, container: Obj) -> bool:
        return "sidecar" in podspec.roles(self.pod) and not podspec.proxy_role(container)

    def _base_environment(self, behind_proxy: bool) -> dict[str, str]:
        meta = self.pod["metadata"]
        base = {
            "HOSTNAME": meta["name"],
            "POD_IP": self.address,
            "KUBECONFIG": str(self.folder / "serviceaccount" / "kubeconfig"),
            "MESHLIB_HOSTS": str(self.folder / "hosts"),
        }
        if self.pod["spec"].get("enableServiceLinks", True):
            base |= environment.service_variables(self.context.registry.list("services", meta["namespace"]))
        host, _, port = self.context.server.removeprefix("https://").rpartition(":")
        base |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        if behind_proxy:
            proxy = f"http://{self.inside}:{self._ports.get(15001, 15001)}"
            base |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": f"{self.inside},{host}"}
        return base

    def _with_addresses(self) -> Obj:
        pod = deepcopy(self.pod)
        node = self.context.subnet.node
        status = pod.setdefault("status", {})
        status |= {"podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": node}
        status["hostIPs"] = [{"ip": node}]
        return pod

    def fill_volumes(self) -> None:
        """Write the files of all volumes; raises `MountProblem`."""
        namespace = self.pod["metadata"]["namespace"]
        account = self.pod["spec"].get("serviceAccountName", "default")
        tokens = {"": self._token(account, "")}
        try:
            self._write_credentials(tokens[""])
        except OSError as error:
            raise volumes.MountProblem(f'"token" : cannot be written: {error.strerror or error}') from error
        lookup = self.context.lookup(namespace)
        pod = self._with_addresses()
        for volume in self.pod["spec"].get("volumes") or []:
            for audience in _audiences(volume):
                tokens.setdefault(audience, self._token(account, audience))
            try:
                files = volumes.contents(pod, volume, lookup, tokens, self.context.capacity)
                folder = self.folder / "volumes" / volume["name"]
                self._volumes[volume["name"]] = volumes.prepare(pod, volume, folder, files)
            except volumes.MountProblem as problem:
                raise volumes.MountProblem(f'"{volume["name"]}" : {problem}') from problem

    def _write_credentials(self, token: str) -> None:
        """The token of the API server, and a kubeconfig that reads it."""
        private = self.folder / "serviceaccount"
        pki.write_private(private / "token", token.encode())
        namespace = self.pod["metadata"]["namespace"]
        config = pki.token_kubeconfig(self.context.server, self.context.ca_pem, private / "token", namespace)
        pki.write_private(private / "kubeconfig", config.encode())

    def _token(self, account: str, audience: str) -> str:
        """A token of the pod's ServiceAccount; the same one until most of its time is over."""
        token, made_s = self._minted.get(audience, ("", 0.0))
        if not token or time.monotonic() - made_s > TOKEN_RENEWAL_S:
            try:
                meta = self.pod["metadata"]
                bound = {"name": meta["name"], "uid": meta["uid"]}
                token = self.context.mint(meta["namespace"], account, audience, bound)
            except KeyError as error:
                raise volumes.MountProblem(f'"token" : serviceaccounts "{account}" not found') from error
            self._minted[audience] = token, time.monotonic()
        return token


def _json(ports: dict[int, int]) -> str:
    return json.dumps({str(declared): true for declared, true in ports.items()})


def _audiences(volume: Obj) -> list[str]:
    sources = (volume.get("projected") or {}).get("sources") or []
    return [
        each["serviceAccountToken"].get("audience", "") for each in sources if "serviceAccountToken" in each
    ]
