"""Port 15014 of istiod: /debug/syncz, /debug/registryz, /debug/configz, /debug/mesh, /version, /metrics."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meshlib.lab.istiod import envoyadmin, metrics
from meshlib.lab.istiod.pusher import Pusher, Served
from meshlib.lab.istiod.translate import READS, World

Obj = dict[str, Any]

SHOWN = {"cluster": "cds", "listener": "lds", "route": "rds", "endpoint": "cds"}
"""The word in syncz's fields → the xDS type; endpoints are delivered inside their clusters."""
CONFIG_KINDS = [kind for kind, group in READS.items() if group.endswith("istio.io")]


def sync_status(served: Served, taken: envoyadmin.Taken | None, errors: list[str]) -> Obj:
    """One entry of syncz: for each type the version that was sent and the one that Envoy has.

    Field names are those of istiod's SyncStatus; empty ones are left out, as in Go; the rest is the lab's.
    """
    proxy = served.proxy
    entry = {
        "cluster_id": "Kubernetes",
        "proxy": f"{proxy.name}.{proxy.namespace}",
        "proxy_type": proxy.role,
        "istio_version": served.node.get("metadata", {}).get("ISTIO_VERSION", ""),
    }
    for word, kind in SHOWN.items():
        sent = served.delivery.versions[kind]
        entry[f"{word}_sent"] = envoyadmin.newest(sent)
        entry[f"{word}_acked"] = envoyadmin.acknowledged(kind, sent, taken) if taken else ""
    shown: Obj = {key: value for key, value in entry.items() if value}
    if taken and (rejected := list(envoyadmin.rejections(taken, served.missing))):
        shown["rejected"] = [
            {"type": kind, "resource": name, "times": times} for (kind, name), times in rejected
        ]
    if errors:
        shown["errors"] = errors
    if served.problems:
        shown["problems"] = [{"object": each.object, "text": each.text} for each in served.problems]
    if served.error:
        shown["translation_error"] = served.error
    return shown


def registry(world: World) -> list[Obj]:
    """The services that istiod knows, in the shape of /debug/registryz as far as istioctl reads it."""
    return [
        {
            "Attributes": {
                "ServiceRegistry": "Kubernetes",
                "Name": meta["name"],
                "Namespace": meta["namespace"],
                "Labels": meta.get("labels") or {},
                "LabelSelectors": service["spec"].get("selector") or {},
            },
            "hostname": ".".join((meta["name"], meta["namespace"], "svc", world.domain)),
            "defaultAddress": service["spec"].get("clusterIP", ""),
            "ports": [
                {"name": p.get("name", ""), "port": p["port"]} for p in service["spec"].get("ports") or []
            ],
            "creationTime": meta.get("creationTimestamp"),
        }
        for service in world.all("Service")
        for meta in (service["metadata"],)
    ]


class Debug:
    """The monitoring application; asks the proxies while it answers, so that what it says is so."""

    def __init__(self, pusher: Pusher, version: str, client: httpx.AsyncClient) -> None:
        self._pusher = pusher
        self._version = version
        self._client = client
        self.app = Starlette(
            routes=[
                Route("/debug/syncz", self._syncz),
                Route("/debug/registryz", self._registryz),
                Route("/debug/configz", self._configz),
                Route("/debug/mesh", self._mesh),
                Route("/version", self._say_version),
                Route("/metrics", self._metrics),
            ]
        )

    async def _syncz(self, request: Request) -> Response:
        return _json(await asyncio.gather(*(self._status(s) for s in list(self._pusher.served.values()))))

    async def _status(self, served: Served) -> Obj:
        taken = await envoyadmin.ask(self._client, served.proxy)
        errors: list[str] = []
        if taken and "lds" in taken.rejected:
            errors = await envoyadmin.listener_errors(self._client, served.proxy)
        return sync_status(served, taken, errors)

    async def _registryz(self, request: Request) -> Response:
        return _json(registry(self._pusher.world))

    async def _configz(self, request: Request) -> Response:
        return _json([obj for kind in CONFIG_KINDS for obj in self._pusher.world.all(kind)])

    async def _mesh(self, request: Request) -> Response:
        found = self._pusher.world.get("ConfigMap", self._pusher.world.root_namespace, "istio") or {}
        return PlainTextResponse((found.get("data") or {}).get("mesh", ""))

    async def _say_version(self, request: Request) -> Response:
        return PlainTextResponse(f"{self._version}-embedded-Clean")

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _json(value: object) -> Response:
    return Response(msgspec.json.format(msgspec.json.encode(value), indent=2), media_type="application/json")
