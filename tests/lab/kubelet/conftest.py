"""A kubelet with its scheduler and the controllers over a real registry, without the API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshlib.lab import network
from meshlib.lab.api.allocation import Allocator
from meshlib.lab.api.bootstrap import bootstrap
from meshlib.lab.api.registry import Registry
from meshlib.lab.api.store import Store
from meshlib.lab.controllers import manager
from meshlib.lab.kubelet.context import Context
from meshlib.lab.kubelet.images import ImageTable, Program
from meshlib.lab.kubelet.node import Kubelet, machine_capacity
from meshlib.lab.kubelet.proxy import ServiceProxy
from meshlib.lab.kubelet.records import HOME
from meshlib.lab.kubelet.scheduler import Scheduler

Obj = dict[str, Any]


class Node:
    """What a test needs of the running parts."""

    def __init__(self, registry: Registry, kubelet: Kubelet) -> None:
        self.registry = registry
        self.kubelet = kubelet

    async def until(self, probe: Callable[[], Any], timeout_s: float = 15.0) -> Any:
        """Wait until `probe` gives something true; fails with what it gave last."""
        value: Any = None
        for _ in range(int(timeout_s / 0.02)):
            value = probe()
            if value:
                return value
            await asyncio.sleep(0.02)
        pytest.fail(f"never came true; last: {value!r}")

    def pod(self, name: str) -> Obj:
        return self.registry.get("pods", "default", name)

    def state(self, name: str) -> Obj:
        status: Obj = self.pod(name).get("status") or {}
        return (status.get("containerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}])[0]

    def pid(self, name: str) -> int:
        return int(self.state(name)["containerID"].removeprefix("meshlib://pid-"))

    def reasons(self) -> set[str]:
        return {each["reason"] for each in self.registry.list("events")}

    async def create(self, name: str, **container: Any) -> None:
        spec: Obj = {"restartPolicy": container.pop("restartPolicy", "Always")}
        for key in ("volumes", "terminationGracePeriodSeconds", "initContainers", "activeDeadlineSeconds"):
            if key in container:
                spec[key] = container.pop(key)
        spec["containers"] = [{"name": "main", "image": "tool", **container}]
        pod = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        await self.registry.create("pods", "default", pod, manager="test")


@contextlib.asynccontextmanager
async def running(home: Path, images: dict[str, Program] | None = None) -> AsyncIterator[Node]:
    subnet, held = network.hold_subnet()
    registry = Registry(Store(home / "state.db"), Allocator(IPv4Network(subnet.service_cidr)))
    rows = {"tool": Program("curl"), "till": Program("httpserver")} | (images or {})
    table = ImageTable(rows)
    context = Context(registry, home, subnet, table, b"CA", lambda *_: "token", machine_capacity())
    context.server = "https://127.0.0.1:1"
    kubelet = Kubelet(context)
    await bootstrap(registry)
    await kubelet.register()
    parts = [
        manager.run(manager.controllers(registry, "CA", subnet)),
        kubelet.run(),
        Scheduler(context).run(),
    ]
    parts.append(ServiceProxy(registry, subnet).run())
    tasks = [asyncio.create_task(each) for each in parts]
    node = Node(registry, kubelet)
    await node.until(lambda: registry.find("serviceaccounts", "default", "default"))
    try:
        yield node
    finally:
        for task in tasks:
            task.cancel()
        await kubelet.stop(2.0)
        held.close()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def left_of(home: Path) -> list[int]:
    """Processes of pods of this home that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(HOME) == str(home):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def on_node(tmp_path: Path) -> Callable[..., None]:
    """Runs an async test body with a `Node`; afterwards no process may be left."""

    def run(
        body: Callable[[Node], Coroutine[Any, Any, None]], images: dict[str, Program] | None = None
    ) -> None:
        async def main() -> None:
            async with running(tmp_path, images) as node:
                await body(node)
            assert left_of(tmp_path) == []

        asyncio.run(main())

    return run
