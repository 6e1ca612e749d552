"""The service proxy: ClusterIPs, node ports and load balancers forwarded to ready endpoints by TCP.

Services whose endpoints are gateways are left alone: the gateway's Envoy binds their addresses itself.
A Service without a ready endpoint has no listener, so that a connection is refused as by kube-proxy.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Registry
from meshlib.lab.kubelet import podspec
from meshlib.lab.network import Subnet

log = logging.getLogger(__name__)

Obj = dict[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"
CONNECT_TIMEOUT_S = 5.0
SETTLE_S = 0.02  # changes come in groups
CHUNK = 64 * 2**10


class Address(NamedTuple):
    host: str
    port: int


class Route(NamedTuple):
    """Where one listener forwards to; `sticky` keeps a client at one backend."""

    backends: tuple[Address, ...]
    sticky: bool


def wanted(
    services: Iterable[Obj], slices: Iterable[Obj], is_gateway: Callable[[Obj], bool], subnet: Subnet
) -> dict[Address, Route]:
    """Which addresses forward to which backends. Pure."""
    by_service: dict[tuple[str, str], list[Obj]] = {}
    for each in slices:
        name = (each["metadata"].get("labels") or {}).get(SERVICE_NAME)
        if name:
            by_service.setdefault((each["metadata"]["namespace"], name), []).append(each)
    result: dict[Address, Route] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        found = by_service.get((meta["namespace"], meta["name"]), [])
        ready = [
            each for part in found for each in part.get("endpoints") or [] if each["conditions"].get("ready")
        ]
        if not ready or any(is_gateway(each) for each in ready):
            continue
        sticky = spec.get("sessionAffinity") == "ClientIP"
        for port in spec.get("ports") or []:
            backends = tuple(_backends(found, port))
            if backends and port.get("protocol", "TCP") == "TCP":
                for address in _addresses(service, port, subnet):
                    result[address] = Route(backends, sticky)
    return result


def _backends(slices: Iterable[Obj], port: Obj) -> Iterator[Address]:
    for each in slices:
        for true in each.get("ports") or []:
            if true.get("name", "") == port.get("name", ""):
                for endpoint in each.get("endpoints") or []:
                    if endpoint["conditions"].get("ready"):
                        yield Address(endpoint["addresses"][0], true["port"])


def _addresses(service: Obj, port: Obj, subnet: Subnet) -> Iterator[Address]:
    spec = service["spec"]
    if spec.get("clusterIP") not in (None, "", "None") and not subnet.shared:
        yield Address(spec["clusterIP"], port["port"])
    if port.get("nodePort"):
        yield Address(subnet.node, port["nodePort"])
    for each in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        yield Address(each["ip"], port["port"])


class ServiceProxy:
    """Keeps one listener for each wanted address."""

    def __init__(self, registry: Registry, subnet: Subnet) -> None:
        self.registry = registry
        self.subnet = subnet
        self._routes: dict[Address, Route] = {}
        self._servers: dict[Address, asyncio.Server] = {}
        self._turn = itertools.count()
        self._refused: set[Address] = set()
        self._flows: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        dirty = asyncio.Event()
        following = asyncio.create_task(self._follow(dirty))
        try:
            while True:
                await dirty.wait()
                await asyncio.sleep(SETTLE_S)
                dirty.clear()
                await self._sync()
        finally:
            following.cancel()
            for server in self._servers.values():
                server.close()
            for flow in self._flows:
                flow.cancel()

    async def _follow(self, dirty: asyncio.Event) -> None:
        with self.registry.subscribe("services", "endpointslices.discovery.k8s.io") as events:
            async for _ in events:
                dirty.set()

    def _is_gateway(self, endpoint: Obj) -> bool:
        target = endpoint.get("targetRef") or {}
        if target.get("kind") != "Pod":
            return False
        try:
            pod = self.registry.get("pods", target["namespace"], target["name"])
        except StatusError as error:
            if error.status == 404:
                return False
            raise
        return "router" in podspec.roles(pod)

    async def _sync(self) -> None:
        slices = self.registry.list("endpointslices.discovery.k8s.io")
        self._routes = wanted(self.registry.list("services"), slices, self._is_gateway, self.subnet)
        for address in self._servers.keys() - self._routes.keys():
            self._servers.pop(address).close()
        for address in self._routes.keys() - self._servers.keys():
            await self._listen(address)

    async def _listen(self, address: Address) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._flows.add(task)
            try:
                await self._forward(address, reader, writer)
            finally:
                self._flows.discard(task)
                writer.close()

        try:
            self._servers[address] = await asyncio.start_server(accept, address.host, address.port)
            self._refused.discard(address)
        except OSError as error:
            if address not in self._refused:
                log.info("nothing listens at %s:%d: %s", *address, error.strerror)
            self._refused.add(address)

    async def _forward(
        self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for backend in self._choices(address, writer.get_extra_info("peername")):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    back_reader, back_writer = await asyncio.open_connection(*backend)
            except (OSError, TimeoutError) as error:
                log.debug("%s:%d → %s:%d: %s", *address, *backend, error)
                continue
            try:
                await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
            finally:
                back_writer.close()
            return

    def _choices(self, address: Address, client: tuple[str, int] | None) -> list[Address]:
        """All backends, the one whose turn it is first."""
        route = self._routes.get(address)
        if route is None:
            return []
        start = hash(client[0]) if route.sticky and client else next(self._turn)
        count = len(route.backends)
        return [route.backends[(start + index) % count] for index in range(count)]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass the end on."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (OSError, RuntimeError) as error:  # uvloop says of a connection that is gone: RuntimeError
        log.debug("connection ended: %s", error)
        writer.close()
