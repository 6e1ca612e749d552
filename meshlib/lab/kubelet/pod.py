"""One pod on this node: address, folders, volumes, its containers in their order, its status, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from meshlib.lab import network, pki
from meshlib.lab.api.errors import StatusError
from meshlib.lab.kubelet import environment, podspec, volumes
from meshlib.lab.kubelet.backoff import INITIAL_S
from meshlib.lab.kubelet.container import Runner
from meshlib.lab.kubelet.context import COMPONENT, Context, Obj
from meshlib.lab.kubelet.launch import Launch
from meshlib.lab.kubelet.status import ContainerFacts, PodFacts, pod_status, rfc3339

log = logging.getLogger(__name__)

FORCED_GRACE_S = 2.0  # what a kubelet gives a pod whose object is already gone
MOUNT_RETRY_S = (0.5, 60.0)
TOKEN_RENEWAL_S = 2400.0  # of the hour that a token holds


class PodWorker:
    """Brings one pod up, keeps it as its spec says, and takes it down when its object is marked or gone."""

    def __init__(self, context: Context, pod: Obj) -> None:
        self.context = context
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.folder: Path = context.pod_folder(self.uid)
        self.address, self.inside = context.addresses.take(self.uid)
        self.volumes: dict[str, Path] = {}
        self.runners: dict[str, Runner] = {}
        self._facts = PodFacts(
            host_ip=context.subnet.node,
            pod_ip=(pod.get("status") or {}).get("podIP", ""),
            started_at=(pod.get("status") or {}).get("startTime") or rfc3339(time.time()),
            containers={each["name"]: _restored(pod, each) for each in podspec.all_containers(pod)},
        )
        self._ports: dict[int, int] = {}
        self._inside_ports: dict[int, int] = {}
        self._dirty = asyncio.Event()
        self._leave = asyncio.Event()
        self._refresh = asyncio.Event()
        self._vanished = False
        self._minted: dict[str, tuple[str, float]] = {}  # audience → token and when it was made
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._notes: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    # -- what the kubelet tells it

    def update(self, pod: Obj) -> None:
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._leave.set()
        for each in podspec.all_containers(pod):
            if runner := self.runners.get(each["name"]):
                runner.respecify(each)
        self._dirty.set()

    def vanish(self) -> None:
        """The object is gone without having waited for us."""
        self._vanished = True
        self._leave.set()

    def refresh(self) -> None:
        """A ConfigMap or Secret of the namespace has changed."""
        self._refresh.set()
        for runner in self.runners.values():
            runner.wake.set()

    # -- what its containers ask of it

    def changed(self) -> None:
        self._dirty.set()

    def started(self) -> None:
        """A container runs: from now on the pod shows its address."""
        self._facts.pod_ip = self.address
        self._dirty.set()

    def note(self, type_: str, reason: str, message: str) -> None:
        self._notes.put_nowait((type_, reason, message))

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
        mounts = volumes.mounts(container, self.volumes)
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

    def _behind_proxy(self, container: Obj) -> bool:
        return "sidecar" in podspec.roles(self.pod) and not podspec.proxy_role(container)

    def _base_environment(self, behind_proxy: bool) -> dict[str, str]:
        meta = self.pod["metadata"]
        base = {
            "HOSTNAME": meta["name"],
            "POD_IP": self.address,
            "KUBECONFIG": str(self.folder / "serviceaccount" / "kubeconfig"),
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
        status = pod.setdefault("status", {})
        status |= {"podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": self._facts.host_ip}
        status["hostIPs"] = [{"ip": self._facts.host_ip}]
        return pod

    # -- its life

    async def run(self) -> None:
        """From setting up to the end of the pod; returns when nothing of it is left."""
        helpers = [asyncio.create_task(each) for each in (self._keep_status(), self._keep_notes())]
        alive = asyncio.create_task(self._live())
        leave = asyncio.create_task(self._leave.wait())
        if "deletionTimestamp" in self.pod["metadata"]:
            self._leave.set()
        try:
            await asyncio.wait({alive, leave}, return_when=asyncio.FIRST_COMPLETED)
            if alive.done() and not alive.cancelled() and (problem := alive.exception()):
                log.error("pod %s/%s", *self._names(), exc_info=problem)
                self.note("Warning", "FailedSync", f"error syncing pod: {problem}")
            await leave
            alive.cancel()
            await self._take_down(FORCED_GRACE_S if self._vanished else self._grace_s())
            await self._flush_notes()
        finally:
            for task in (*helpers, alive, leave):
                task.cancel()
        if not self._vanished:
            await self._write_status()
            await self._remove_object()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.context.xds_folder(self.uid), ignore_errors=True)
        self.context.addresses.release(self.uid)

    async def shut_down(self, grace_s: float) -> None:
        """End the processes because the control plane ends; the pod's object stays as it is."""
        await self._take_down(grace_s)
        await self._flush_notes()

    def _grace_s(self) -> float:
        meta, spec = self.pod["metadata"], self.pod["spec"]
        return float(meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30)))

    def _names(self) -> tuple[str, str]:
        meta = self.pod["metadata"]
        return meta["namespace"], meta["name"]

    async def _live(self) -> None:
        await self._set_up()
        policy = self.pod["spec"].get("restartPolicy", "Always")
        for each in podspec.init_containers(self.pod):
            if podspec.is_sidecar(each):
                runner = self._start(each, "Always")
                await runner.begun.wait()
                continue
            self._start(each, "OnFailure" if policy == "Always" else policy)
            await self._tasks[each["name"]]
            if self._facts.containers[each["name"]].exit_code != 0:
                await self._stop_sidecars(self._grace_s())
                return
        apps = podspec.containers(self.pod)
        for each in apps:
            code = self._facts.containers[each["name"]].exit_code
            if policy == "Always" or code is None or (policy == "OnFailure" and code != 0):
                self._start(each, policy)
        refreshing = asyncio.create_task(self._keep_volumes())
        try:
            running = [self._tasks[each["name"]] for each in apps if each["name"] in self._tasks]
            await asyncio.gather(*running)
        finally:
            refreshing.cancel()
        await self._stop_sidecars(self._grace_s())

    def _start(self, container: Obj, policy: str) -> Runner:
        runner = Runner(self, container, self._facts.containers[container["name"]], policy)
        self.runners[runner.name] = runner
        self._tasks[runner.name] = asyncio.create_task(runner.run(), name=f"container {runner.name}")
        return runner

    async def _take_down(self, grace_s: float) -> None:
        """Applications first, then sidecars, the last one first."""
        deadline = time.monotonic() + grace_s
        apps = {each["name"] for each in self.pod["spec"]["containers"]}
        for each in self.runners.values():
            if each.process:
                self.note("Normal", "Killing", f"Stopping container {each.name}")
        await asyncio.gather(*(self._stop(name, grace_s) for name in self._tasks if name in apps))
        await self._stop_sidecars(max(deadline - time.monotonic(), 0.1))

    async def _stop_sidecars(self, grace_s: float) -> None:
        apps = {each["name"] for each in self.pod["spec"]["containers"]}
        for name in reversed([name for name in self._tasks if name not in apps]):
            await self._stop(name, grace_s)

    async def _stop(self, name: str, grace_s: float) -> None:
        task, runner = self._tasks[name], self.runners[name]
        if runner.process is None:
            task.cancel()
        await runner.stop(grace_s)
        await asyncio.wait({task})
        if not task.cancelled() and (problem := task.exception()):
            log.error("container %s of %s/%s", name, *self._names(), exc_info=problem)

    # -- setting up

    async def _set_up(self) -> None:
        for folder in (self.folder, self.folder / "logs", self.folder / "serviceaccount"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if podspec.roles(self.pod):
            self.context.xds_folder(self.uid).mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._annotate()
        if podspec.roles(self.pod):
            # istiod needs the address to write the configuration that the proxy waits for.
            self._facts.pod_ip = self.address
        self._dirty.set()
        pause_s, longest_s = MOUNT_RETRY_S
        while True:
            try:
                self._fill_volumes()
                return
            except volumes.MountProblem as problem:
                self.note("Warning", "FailedMount", f"MountVolume.SetUp failed for volume {problem}")
                self._refresh.clear()
                waiter = asyncio.create_task(self._refresh.wait())
                await asyncio.wait({waiter}, timeout=pause_s)
                waiter.cancel()
                pause_s = min(pause_s * 2, longest_s)

    async def _annotate(self) -> None:
        """Where the pod listens, written before anything of it runs."""
        declared = podspec.declared_ports(self.pod)
        injected = "sidecar" in podspec.roles(self.pod)
        shared = self.context.subnet.shared
        self._ports = network.true_ports(
            declared, self.address, None if shared or not injected else self.inside
        )
        if shared and injected:
            self._inside_ports = network.true_ports(declared, self.inside, None, self._ports.values())
        wanted = {
            podspec.INSIDE: self.inside,
            podspec.PORTS: json.dumps({str(k): v for k, v in self._ports.items()}),
        }
        if self._inside_ports:
            wanted[podspec.INSIDE_PORTS] = json.dumps({str(k): v for k, v in self._inside_ports.items()})

        def change(pod: Obj) -> None:
            pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **wanted}

        self.pod = await self._write(change, None) or self.pod

    def _fill_volumes(self) -> bool:
        """Write the files of all volumes; raises `MountProblem`. Whether anything changed."""
        namespace, _ = self._names()
        account = self.pod["spec"].get("serviceAccountName", "default")
        tokens = {"": self._token(account, "")}
        private = self.folder / "serviceaccount"
        token_file = private / "token"
        pki.write_private(token_file, tokens[""].encode())
        config = pki.token_kubeconfig(self.context.server, self.context.ca_pem, token_file, namespace)
        pki.write_private(private / "kubeconfig", config.encode())
        lookup = self.context.lookup(namespace)
        pod = self._with_addresses()
        before = dict(self.volumes)
        for volume in self.pod["spec"].get("volumes") or []:
            for audience in _audiences(volume):
                tokens.setdefault(audience, self._token(account, audience))
            try:
                files = volumes.contents(pod, volume, lookup, tokens, self.context.capacity)
                folder = self.folder / "volumes" / volume["name"]
                self.volumes[volume["name"]] = volumes.prepare(pod, volume, folder, files)
            except volumes.MountProblem as problem:
                raise volumes.MountProblem(f'"{volume["name"]}" : {problem}') from problem
        return before != self.volumes

    def _token(self, account: str, audience: str) -> str:
        """A token of the pod's ServiceAccount; the same one until most of its time is over."""
        token, made_s = self._minted.get(audience, ("", 0.0))
        if not token or time.monotonic() - made_s > TOKEN_RENEWAL_S:
            try:
                token = self.context.mint(self._names()[0], account, audience)
            except KeyError as error:
                raise volumes.MountProblem(f'"token" : serviceaccounts "{account}" not found') from error
            self._minted[audience] = token, time.monotonic()
        return token

    async def _keep_volumes(self) -> None:
        """Follow changed ConfigMaps and Secrets, renew tokens; what is missing now keeps its last content."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh.wait(), TOKEN_RENEWAL_S / 4)
            self._refresh.clear()
            try:
                self._fill_volumes()
            except volumes.MountProblem as problem:
                self.note("Warning", "FailedMount", f"MountVolume.SetUp failed for volume {problem}")

    # -- telling

    async def _keep_status(self) -> None:
        pause_s = 0.1
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write_status()
                pause_s = 0.1
            except StatusError as error:
                log.warning("status of pod %s/%s: %s", *self._names(), error)
                self._dirty.set()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, INITIAL_S)

    async def _write_status(self) -> None:
        for runner in self.runners.values():
            self._facts.containers[runner.name] = runner.facts

        def change(pod: Obj) -> None:
            pod["status"] = pod_status(pod, self._facts, time.time())

        self.pod = await self._write(change, "status") or self.pod

    async def _write(self, change: Callable[[Obj], None], subresource: str | None) -> Obj | None:
        """Change this very pod; None when it no longer exists."""
        namespace, name = self._names()

        def guarded(pod: Obj) -> None:
            if pod["metadata"]["uid"] != self.uid:
                raise StatusError(404, "NotFound", f'pods "{name}" not found')
            change(pod)

        try:
            return await self.context.registry.modify(
                "pods", namespace, name, guarded, subresource=subresource, manager=COMPONENT
            )
        except StatusError as error:
            if error.status == 404:
                return None
            raise

    async def _remove_object(self) -> None:
        namespace, name = self._names()
        try:
            await self.context.registry.delete("pods", namespace, name, grace_s=0, uid=self.uid)
        except StatusError as error:
            if error.status not in (404, 409):
                raise

    async def _keep_notes(self) -> None:
        while True:
            await self._tell(await self._notes.get())

    async def _flush_notes(self) -> None:
        while not self._notes.empty():
            await self._tell(self._notes.get_nowait())

    async def _tell(self, note: tuple[str, str, str]) -> None:
        try:
            await self.context.registry.event(self.pod, *note, component=COMPONENT)
        except StatusError as error:
            log.warning("event %s of pod %s/%s: %s", note[1], *self._names(), error)


def _audiences(volume: Obj) -> list[str]:
    sources = (volume.get("projected") or {}).get("sources") or []
    return [
        each["serviceAccountToken"].get("audience", "") for each in sources if "serviceAccountToken" in each
    ]


def _restored(pod: Obj, container: Obj) -> ContainerFacts:
    """What is known of a container when its worker starts: nothing, or what an earlier control plane wrote.

    A container that was running then is gone like after a restart of a node.
    """
    status = pod.get("status") or {}
    known = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    found = next((each for each in known if each["name"] == container["name"]), None)
    reason = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    waiting: Obj = {"waiting": {"reason": reason}}
    if found is None or not found.get("containerID"):
        return ContainerFacts(state=waiting)
    facts = ContainerFacts(
        state=waiting, last_state=found.get("lastState") or {}, restarts=found["restartCount"]
    )
    if ended := found["state"].get("terminated"):
        if pod["spec"].get("restartPolicy") != "Always" and not podspec.is_sidecar(container):
            facts.state = {"terminated": ended}
        facts.last_state = {"terminated": ended}
    elif running := found["state"].get("running"):
        lost = {
            "exitCode": 255,
            "reason": "Unknown",
            "startedAt": running["startedAt"],
            "finishedAt": rfc3339(time.time()),
            "containerID": found.get("containerID", ""),
        }
        facts.last_state = {"terminated": lost}
    return facts
