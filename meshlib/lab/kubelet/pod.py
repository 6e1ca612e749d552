"""One pod on this node: address, folders, volumes, its containers in their order, its status, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from meshlib.lab.api.errors import StatusError
from meshlib.lab.kubelet import podspec, volumes
from meshlib.lab.kubelet.backoff import INITIAL_S
from meshlib.lab.kubelet.container import Runner
from meshlib.lab.kubelet.context import COMPONENT, Context, Obj
from meshlib.lab.kubelet.sandbox import TOKEN_RENEWAL_S, Sandbox
from meshlib.lab.kubelet.status import ContainerFacts, PodFacts, pod_status, rfc3339

log = logging.getLogger(__name__)

FORCED_GRACE_S = 2.0  # what a kubelet gives a pod whose object is already gone
OVERDUE = "Pod was active on the node longer than the specified deadline"
MOUNT_RETRY_S = (0.5, 60.0)


class PodWorker:
    """Brings one pod up, keeps it as its spec says, and takes it down when its object is marked or gone."""

    def __init__(self, context: Context, pod: Obj) -> None:
        self.context = context
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.sandbox = Sandbox(context, pod)
        self.folder: Path = self.sandbox.folder
        self.runners: dict[str, Runner] = {}
        self._facts = PodFacts(
            host_ip=context.subnet.node,
            pod_ip=(pod.get("status") or {}).get("podIP", ""),
            started_at=(pod.get("status") or {}).get("startTime") or rfc3339(time.time()),
            containers={each["name"]: _restored(pod, each) for each in podspec.all_containers(pod)},
        )
        self._dirty = asyncio.Event()
        self._leave = asyncio.Event()
        self._refresh = asyncio.Event()
        self._vanished = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._notes: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    # -- what the kubelet tells it

    def update(self, pod: Obj) -> None:
        before, now = self.pod["metadata"], pod["metadata"]
        if any(before.get(each) != now.get(each) for each in ("labels", "annotations")):
            self._refresh.set()  # a volume of the downward API may show them
        self._take(pod)
        if "deletionTimestamp" in pod["metadata"]:
            self._leave.set()
        for each in podspec.all_containers(pod):
            if runner := self.runners.get(each["name"]):
                runner.respecify(each)
        self._dirty.set()

    def _take(self, pod: Obj | None) -> None:
        if pod is not None:
            self.pod = self.sandbox.pod = pod

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
        self._facts.pod_ip = self.sandbox.address
        self._dirty.set()

    def note(self, type_: str, reason: str, message: str) -> None:
        self._notes.put_nowait((type_, reason, message))

    # -- its life

    async def run(self) -> None:
        """From setting up to the end of the pod; returns when nothing of it is left."""
        helpers = [asyncio.create_task(each) for each in (self._keep_status(), self._keep_notes())]
        alive = asyncio.create_task(self._live())
        leave = asyncio.create_task(self._leave.wait())
        if "deletionTimestamp" in self.pod["metadata"]:
            self._leave.set()
        try:
            allowed_s = self.pod["spec"].get("activeDeadlineSeconds")
            done, _ = await asyncio.wait(
                {alive, leave}, timeout=allowed_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self._facts.failed = ("DeadlineExceeded", OVERDUE)
                self.note("Normal", "DeadlineExceeded", OVERDUE)
                alive.cancel()
                await self._take_down(self._grace_s())
                self._dirty.set()
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
            await self.write_status()
            await self._remove_object()
        for folder in (self.folder, self.context.xds_folder(self.uid)):
            if folder.exists():
                shutil.rmtree(folder)
        self.sandbox.release()

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
            await asyncio.wait({self._tasks[each["name"]]})  # unlike await, wait does not hand a cancel on
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
            if running := {self._tasks[each["name"]] for each in apps if each["name"] in self._tasks}:
                await asyncio.wait(running)
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
        self.sandbox.make_folders()
        notes = self.sandbox.choose_ports()

        def annotate(pod: Obj) -> None:
            pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **notes}

        self._take(await self._write(annotate, None))
        if podspec.roles(self.pod):
            # istiod needs the address to write the configuration that the proxy waits for.
            self._facts.pod_ip = self.sandbox.address
        self._dirty.set()
        pause_s, longest_s = MOUNT_RETRY_S
        while True:
            try:
                self.sandbox.fill_volumes()
                return
            except volumes.MountProblem as problem:
                self.note("Warning", "FailedMount", f"MountVolume.SetUp failed for volume {problem}")
                self._refresh.clear()
                waiter = asyncio.create_task(self._refresh.wait())
                await asyncio.wait({waiter}, timeout=pause_s)
                waiter.cancel()
                pause_s = min(pause_s * 2, longest_s)

    async def _keep_volumes(self) -> None:
        """Follow changed ConfigMaps and Secrets, renew tokens; what is missing now keeps its last content."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._refresh.wait(), TOKEN_RENEWAL_S / 4)
            self._refresh.clear()
            try:
                self.sandbox.fill_volumes()
            except volumes.MountProblem as problem:
                self.note("Warning", "FailedMount", f"MountVolume.SetUp failed for volume {problem}")

    # -- telling

    async def _keep_status(self) -> None:
        pause_s = 0.1
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self.write_status()
                pause_s = 0.1
            except StatusError as error:
                log.warning("status of pod %s/%s: %s", *self._names(), error)
                self._dirty.set()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, INITIAL_S)

    async def write_status(self) -> None:
        """Bring the object's status up to date."""
        for runner in self.runners.values():
            self._facts.containers[runner.name] = runner.facts

        def change(pod: Obj) -> None:
            pod["status"] = pod_status(pod, self._facts, time.time())

        self._take(await self._write(change, "status"))

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
