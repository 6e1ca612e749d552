"""The kubelet and its node: one worker a pod, the Node object, and what the API server asks of a node."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

import meshlib
from meshlib.lab.api.errors import StatusError
from meshlib.lab.kubelet import podspec
from meshlib.lab.kubelet.context import COMPONENT, NODE_NAME, Context, Obj
from meshlib.lab.kubelet.pod import PodWorker
from meshlib.lab.kubelet.status import rfc3339

log = logging.getLogger(__name__)

KUBELET_VERSION = "v1.36.2"
LEASES, LEASE_NAMESPACE = "leases.coordination.k8s.io", "kube-node-lease"
LEASE_RENEWAL_S, LEASE_DURATION_S = 10.0, 40
MEMORY_LEFT_BYTES, DISK_LEFT_SHARE = 100 * 2**20, 0.1  # evictionHard: memory.available, nodefs.available
MEMORY_REASONS = ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory")
DISK_REASONS = ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure")
HEARTBEAT_S = 300.0  # nodeStatusReportFrequency of a kubelet whose node does not change


class Kubelet:
    """Runs every pod that is bound to this node; the API server reaches containers through it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # -- the Node protocol of the API server

    def log_file(self, pod: Obj, container: str, previous: bool) -> Path:
        """The log of a container; the file may not exist yet."""
        folder = self.context.pod_folder(pod["metadata"]["uid"])
        return folder / "logs" / f"{container}.log{'.previous' if previous else ''}"

    def reach(self, pod: Obj, port: int) -> tuple[str, int]:
        """Where a pod really listens on a port that it declares."""
        worker = self.workers.get(pod["metadata"]["uid"])
        if worker is None:
            raise StatusError(404, "NotFound", f"pod {pod['metadata']['name']} is not running")
        return worker.sandbox.reach(port)

    async def execute(self, pod: Obj, container: str, argv: list[str]) -> asyncio.subprocess.Process:
        """Start `argv` beside a running container; raises StatusError where it does not run, OSError from
        exec.
        """
        worker = self.workers.get(pod["metadata"]["uid"])
        runner = worker.runners.get(container) if worker else None
        if worker is None or runner is None or runner.process is None:
            raise StatusError(400, "BadRequest", f'container "{container}" is not running')
        worker.sandbox.write_hosts()
        return await runner.execute(argv)

    # -- pods

    async def recover(self) -> None:
        """Start what an earlier control plane ran, and show at once that no process of it is there."""
        pods = [pod for pod in self.context.registry.list("pods") if pod["spec"].get("nodeName") == NODE_NAME]
        for pod in pods:
            if inside := (pod["metadata"].get("annotations") or {}).get(podspec.INSIDE):
                self.context.addresses.adopt(pod["metadata"]["uid"], inside)
        for pod in pods:
            self._pod("ADDED", pod)
        await asyncio.gather(*(worker.write_status() for worker in self.workers.values()))

    async def run(self) -> None:
        """Follow the pods of this node until cancelled."""
        registry = self.context.registry
        with registry.subscribe("pods", "configmaps", "secrets") as events:
            async for event in events:
                if event.resource == "pods":
                    self._pod(event.type, event.object)
                else:
                    self._refresh(event.object["metadata"]["namespace"])

    def _refresh(self, namespace: str) -> None:
        for worker in self.workers.values():
            if worker.pod["metadata"]["namespace"] == namespace:
                worker.refresh()

    def _pod(self, verb: str, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if verb == "DELETED":
            if worker:
                worker.vanish()
        elif worker:
            worker.update(pod)
        elif pod["spec"].get("nodeName") == NODE_NAME and (pod.get("status") or {}).get("phase") not in (
            "Succeeded",
            "Failed",
        ):
            worker = self.workers[uid] = PodWorker(self.context, pod)
            task = asyncio.create_task(worker.run(), name=f"pod {pod['metadata']['name']}")
            self._tasks[uid] = task
            task.add_done_callback(lambda done: self._over(uid, done))

    def _over(self, uid: str, task: asyncio.Task[None]) -> None:
        self.workers.pop(uid, None)
        self._tasks.pop(uid, None)
        if not task.cancelled() and (problem := task.exception()):
            log.error("the worker of pod %s failed", uid, exc_info=problem)

    async def stop(self, grace_s: float) -> None:
        """End all processes; the objects stay, so that the pods come back with the next control plane."""
        workers = list(self.workers.values())
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*(worker.shut_down(grace_s) for worker in workers))

    # -- the Node

    async def register(self) -> None:
        """Create the Node, or bring its status up to date; then keep its heart beating."""
        registry = self.context.registry
        try:
            await registry.create("nodes", None, _node(), manager=COMPONENT)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        await self._beat()

    async def keep_beating(self) -> None:
        """Renew the Lease every 10 s and the Node's status every 5 minutes, until cancelled."""
        beats = 0
        while True:
            await self._renew()
            await asyncio.sleep(LEASE_RENEWAL_S)
            beats += 1
            if beats * LEASE_RENEWAL_S >= HEARTBEAT_S:
                beats = 0
                await self._beat()

    async def _beat(self) -> None:
        def change(node: Obj) -> None:
            node["status"] = node_status(node.get("status") or {}, self.context, time.time())

        await self.context.registry.modify(
            "nodes", None, NODE_NAME, change, subresource="status", manager=COMPONENT
        )

    async def _renew(self) -> None:
        registry = self.context.registry
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

        def change(lease: Obj) -> None:
            lease["spec"]["renewTime"] = now

        try:
            await registry.modify(LEASES, LEASE_NAMESPACE, NODE_NAME, change, manager=COMPONENT)
        except StatusError as error:
            if error.status != 404:
                raise
            node = registry.get("nodes", None, NODE_NAME)
            owner = {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME, "uid": node["metadata"]["uid"]}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NODE_NAME, "ownerReferences": [owner]},
                "spec": {
                    "holderIdentity": NODE_NAME,
                    "leaseDurationSeconds": LEASE_DURATION_S,
                    "renewTime": now,
                },
            }
            await registry.create(LEASES, LEASE_NAMESPACE, lease, manager=COMPONENT)


def _node() -> Obj:
    system, machine = platform.system().lower(), _architecture()
    labels = {
        "kubernetes.io/hostname": NODE_NAME,
        "kubernetes.io/os": system,
        "kubernetes.io/arch": machine,
        "beta.kubernetes.io/os": system,
        "beta.kubernetes.io/arch": machine,
        "node-role.kubernetes.io/control-plane": "",
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME, "labels": labels}, "spec": {}}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def node_status(before: Obj, context: Context, now_s: float) -> Obj:
    """The status of the Node: true capacity of this machine, the images that exist."""
    old = {each["type"]: each for each in before.get("conditions") or []}
    now = rfc3339(now_s)

    def condition(type_: str, status: str, reason: str, message: str) -> Obj:
        same = type_ in old and old[type_]["status"] == status
        return {
            "type": type_,
            "status": status,
            "lastHeartbeatTime": now,
            "lastTransitionTime": old[type_]["lastTransitionTime"] if same else now,
            "reason": reason,
            "message": message,
        }

    disk = shutil.disk_usage(context.home)
    short_of_disk = disk.free < disk.total * DISK_LEFT_SHARE
    short_of_memory = psutil.virtual_memory().available < MEMORY_LEFT_BYTES
    capacity = dict(context.capacity)
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            condition(
                "MemoryPressure", *_pressure(short_of_memory, MEMORY_REASONS, "insufficient memory available")
            ),
            condition("DiskPressure", *_pressure(short_of_disk, DISK_REASONS, "disk pressure")),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "addresses": [
            {"type": "InternalIP", "address": context.subnet.node},
            {"type": "Hostname", "address": NODE_NAME},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": f"{platform.system()} {platform.release()}",
            "containerRuntimeVersion": f"meshlib-lab://{meshlib.__version__}",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": platform.system().lower(),
            "architecture": _architecture(),
        },
        "images": [{"names": [name], "sizeBytes": 0} for name in context.images.repositories()],
    }


def _pressure(short: bool, reasons: tuple[str, str], text: str) -> tuple[str, str, str]:
    """Status, reason and message of a pressure condition; `reasons` are those of trouble and of none."""
    return (
        ("True", reasons[0], f"kubelet has {text}")
        if short
        else ("False", reasons[1], f"kubelet has no {text}")
    )


def machine_capacity() -> dict[str, str]:
    """What this machine has: cores, memory, and as many pods as a kubelet allows."""
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total // 1024}Ki",
        "pods": "110",
    }
