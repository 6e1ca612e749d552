"""Looks, shortly after a push, whether the proxies took it; what they rejected is logged and counted.

A proxy that rejects keeps what it had.  Envoy tells the reason on its admin port for listeners only; for the
other types it stands in the proxy's own log.
"""

from __future__ import annotations

import asyncio
import logging

import httpx

from meshlib.lab.istiod import envoyadmin, metrics
from meshlib.lab.istiod.pusher import Pusher, Report, Served

LOG = logging.getLogger("istiod.ads")

LOOK_AFTER_S = 0.3


class Acks:
    """Follows the pushes of one pusher."""

    def __init__(self, pusher: Pusher, client: httpx.AsyncClient) -> None:
        self._pusher = pusher
        self._client = client
        self._touched: set[str] = set()
        self._dirty = asyncio.Event()
        self._known: dict[str, dict[tuple[str, str], int]] = {}

    def note(self, report: Report) -> None:
        """A push was made."""
        if report.written:
            self._touched.update(report.written)
            self._dirty.set()

    async def run(self) -> None:
        """Look until cancelled, once for all pushes of the last moment."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(LOOK_AFTER_S)
            self._dirty.clear()
            touched, self._touched = self._touched, set()
            for uid in touched:
                served = self._pusher.served.get(uid)
                if served is not None:
                    await self._look(uid, served)
            for uid in [uid for uid in self._known if uid not in self._pusher.served]:
                del self._known[uid]

    async def _look(self, uid: str, served: Served) -> None:
        taken = await envoyadmin.ask(self._client, served.proxy)
        if taken is None:
            return
        now = dict(envoyadmin.rejections(taken, served.missing))
        before = self._known.get(uid, {})
        self._known[uid] = now
        for (kind, name), times in now.items():
            if times <= before.get((kind, name), 0):
                continue
            metrics.REJECTED_XDS.labels(kind).inc(times - before.get((kind, name), 0))
            reasons = await envoyadmin.listener_errors(self._client, served.proxy) if kind == "lds" else []
            why = "; ".join(reasons) or "the reason is in the log of the container istio-proxy"
            where = f"{served.proxy.name}.{served.proxy.namespace}"
            LOG.warning("ADS:%s: ACK ERROR %s %s: %s", kind.upper(), where, name, why)
