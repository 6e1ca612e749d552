"""The istiod process: brings the parts up in order, runs them, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import ssl
from typing import Any

import httpx
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meshlib.lab.istiod import inject, metrics, settings, upkeep, webhooks
from meshlib.lab.istiod.acks import Acks
from meshlib.lab.istiod.ca import Authority, Issued
from meshlib.lab.istiod.debug import Debug
from meshlib.lab.istiod.kubeapi import KubeApi, read_kubeconfig
from meshlib.lab.istiod.minors import DEFAULT, minor_of_image, version_of_image
from meshlib.lab.istiod.pairs import load_pair
from meshlib.lab.istiod.pusher import Pusher
from meshlib.lab.istiod.reflector import reflectors
from meshlib.lab.istiod.sds import SecretSource
from meshlib.lab.istiod.serving import Server, serve
from meshlib.lab.istiod.sidecar import Settings as Injection
from meshlib.lab.istiod.translate import World

LOG = logging.getLogger("istiod")

Obj = dict[str, Any]

SERVICE = "istiod"
CONTAINER = "discovery"


class Istiod:
    """All parts of one istiod and what they share."""

    def __init__(self, given: settings.Settings, api: KubeApi, image: str, authority: Authority) -> None:
        self.given = given
        self.image = image
        self.authority = authority
        self.ready = False
        world = World(
            root_namespace=given.namespace,
            default_minor=minor_of_image(image, DEFAULT),
            trace_sampling=given.trace_sampling,
            bindable=bindable,
        )
        self.proxies = httpx.AsyncClient(trust_env=False, timeout=5.0)
        self.pusher = Pusher(world, given.xds_dir, SecretSource(authority))
        self.acks = Acks(self.pusher, self.proxies)
        self.pusher.on_push = self.acks.note
        self.upkeep = upkeep.Upkeep(api, authority, given.namespace, given.pod)
        self.reflectors = reflectors(api, self._note)
        self.debug = Debug(self.pusher, version_of_image(image), self.proxies)
        self._own: dict[str, Obj] = {}
        self._injection: Injection | None = None
        self.serving: Issued = authority.server(self._names())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(self.context, self.serving.chain_pem, self.serving.key_pem)

    def webhook_app(self) -> Starlette:
        """What port 15017 serves."""

        async def inject_pod(request: Request) -> Response:
            return await webhooks.answer(request, lambda r: webhooks.injection(r, self.injection()))

        async def validate(request: Request) -> Response:
            return await webhooks.answer(request, webhooks.validation)

        return Starlette(
            routes=[
                Route("/inject", inject_pod, methods=["POST"]),
                Route("/validate", validate, methods=["POST"]),
            ]
        )

    def health_app(self) -> Starlette:
        """What port 8080 serves."""

        async def ready(request: Request) -> Response:
            return PlainTextResponse("", status_code=200 if self.ready else 503)

        return Starlette(routes=[Route("/ready", ready)])

    def injection(self) -> Injection:
        """The injector's settings; a ConfigMap that cannot be read leaves the last good ones."""
        if self._injection is None:
            mesh = (self._own.get("istio", {}).get("data") or {}).get("mesh", "")
            injector = self._own.get("istio-sidecar-injector")
            self._injection = inject.settings(injector, mesh, self.image, self.given.namespace)
        return self._injection

    async def renew(self) -> None:
        """Replace certificates at half of their lives, for ever."""
        while True:
            await asyncio.sleep(max(1.0, self.pusher.secrets.renew_in_s()))
            self.pusher.kick()
            if self.serving.due():
                self.serving = self.authority.server(self._names())
                load_pair(self.context, self.serving.chain_pem, self.serving.key_pem)

    def _names(self) -> list[str]:
        namespace = self.given.namespace
        return [f"{SERVICE}.{namespace}.svc", f"{SERVICE}.{namespace}", SERVICE]

    def _note(self, present: bool, obj: Obj) -> None:
        kind, meta = obj["kind"], obj["metadata"]
        metrics.EVENTS.labels(kind, "update" if present else "delete").inc()
        self.upkeep.note(present, obj)
        if kind == "ConfigMap" and meta["namespace"] == self.given.namespace:
            self._note_own(present, obj)
        self.pusher.note(present, obj)

    def _note_own(self, present: bool, obj: Obj) -> None:
        name = obj["metadata"]["name"]
        if name not in ("istio", "istio-sidecar-injector"):
            return
        before = self._own.get(name)
        self._own = {k: v for k, v in self._own.items() if k != name} | ({name: obj} if present else {})
        kept, self._injection = self._injection, None
        try:
            self.injection()
        except yaml.YAMLError as error:
            LOG.error("failed to read %s from ConfigMap: %s", name, " ".join(str(error).split()))
            self._own = self._own | ({name: before} if before else {})
            self._injection = kept


@functools.cache
def bindable(port: int) -> bool:
    """Whether this user may listen on `port` of an address in 127.0.0.0/8, on which ClusterIPs lie.

    Asked of the system; never where the platform has only 127.0.0.1.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.77", port))
        except OSError:
            return False
    return True


async def own_image(api: KubeApi, given: settings.Settings) -> str:
    """The image of the container `discovery` of this pod: it says which Istio this is to be."""
    pod = await api.call("GET", f"/api/v1/namespaces/{given.namespace}/pods/{given.pod}")
    containers = pod["spec"]["containers"]
    found = next((c for c in containers if c["name"] == CONTAINER), containers[0])
    return str(found["image"])


async def run(given: settings.Settings) -> None:
    """Serve until SIGTERM or SIGINT.  Raises LabError or ClusterError when it cannot start."""
    stop = asyncio.Event()
    ending: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = KubeApi(read_kubeconfig(given.kubeconfig))
    image = await own_image(api, given)
    istiod = Istiod(given, api, image, await upkeep.authority(api, given.namespace))
    metrics.INFO.labels("pilot", version_of_image(image)).set(1)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(api.close)
        stack.push_async_callback(istiod.proxies.aclose)
        servers: list[Server] = []
        for app, port, context in (
            (istiod.health_app(), settings.HTTP_PORT, None),
            (istiod.debug.app, settings.MONITORING_PORT, None),
            (istiod.webhook_app(), settings.WEBHOOK_PORT, istiod.context),
        ):
            server, task = await serve(app, given.host, given.port(port), context)
            servers.append(server)
            stack.push_async_callback(asyncio.wait, [task])
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(r.run(), name=r.collection.plural) for r in istiod.reflectors
        ]
        tasks.append(asyncio.create_task(istiod.upkeep.run(), name="upkeep"))
        await asyncio.gather(*(reflector.synced.wait() for reflector in istiod.reflectors))
        await istiod.pusher.push()
        tasks.append(asyncio.create_task(istiod.pusher.run(), name="pusher"))
        tasks.append(asyncio.create_task(istiod.acks.run(), name="acks"))
        tasks.append(asyncio.create_task(istiod.renew(), name="renew"))
        istiod.ready = True
        LOG.info("istiod %s is ready: %d proxies", version_of_image(image), len(istiod.pusher.served))
        done, _ = await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
        istiod.ready = False
        for server in servers:
            server.stop()
        for one in [ending, *tasks]:
            one.cancel()
        for failed in done - {ending}:
            failed.result()
