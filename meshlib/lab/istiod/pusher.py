"""From changes of the API to files of the proxies: collect, translate, write.

Everything here runs in one worker thread at a time; the event loop only adds to what is pending.  A change
after a calm waits a few milliseconds for others of its kind; in a storm the pause before a push is the cost
of the last one, so that half of a processor stays for the rest and a thousand changes take few pushes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from meshlib.errors import LabError
from meshlib.lab.istiod import bootstrap, metrics, proxyconfig, zipkin
from meshlib.lab.istiod.delivery import Delivery, Wanted
from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.sds import SecretSource
from meshlib.lab.istiod.translate import Paths, Problem, Proxy, World, proxies, translate

LOG = logging.getLogger("istiod.ads")

Obj = dict[str, Any]

QUIET_S = 0.003
CALM = 10.0
"""After this many times the cost of a push without a change, the next change is a single one."""
LONGEST_PAUSE_S = 0.5
SWEEP_AFTER_S = 0.25
RETRY_S = 1.0


@dataclass
class Served:
    """One proxy that gets files."""

    proxy: Proxy
    delivery: Delivery
    node: Mapping[str, Any] = field(default_factory=dict)
    """The node of its bootstrap: what a discovery request would carry."""
    node_stamp: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """SDS names behind which there is nothing that could be sent."""
    error: str = ""
    """Why the last translation failed; the files are those of the last good one."""


@dataclass
class Report:
    """What a push did."""

    number: int
    seconds: float
    written: dict[str, list[str]]
    """Pod uid → types that were written."""


class Pusher:
    """Keeps the files of all proxies equal to what the world means."""

    def __init__(
        self,
        world: World,
        xds_dir: Path,
        secrets: SecretSource,
    ) -> None:
        self.world = world
        self.xds_dir = xds_dir
        self.secrets = secrets
        self.served: dict[str, Served] = {}
        self.on_push: Callable[[Report], None] = lambda report: None
        self._pending: list[tuple[bool, Obj]] = []
        self._since = 0.0
        self._dirty = asyncio.Event()
        self._must_sweep = False
        self._must_retry = False
        self._number = 0
        self._last_s = 0.0
        self._ended = 0.0

    def note(self, present: bool, obj: Obj) -> None:
        """An object as it now is, or one that is gone; cheap, called for every event."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append((present, obj))
        self._dirty.set()

    def kick(self) -> None:
        """Push although no object changed: a certificate is due, a proxy started anew."""
        if not self._pending:
            self._since = time.monotonic()
        self._dirty.set()

    async def run(self) -> None:
        """Push and sweep until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._dirty.wait(), SWEEP_AFTER_S if self._must_sweep else None)
            except TimeoutError:
                await asyncio.to_thread(self._sweep)
                if not self._must_retry:
                    continue
                await asyncio.sleep(RETRY_S)
            calm = time.monotonic() - self._ended > CALM * self._last_s
            await asyncio.sleep(QUIET_S if calm else min(max(QUIET_S, self._last_s), LONGEST_PAUSE_S))
            await self.push()

    async def push(self) -> Report:
        """One push of everything that is pending."""
        batch, self._pending = self._pending, []
        self._must_retry = False
        self._dirty.clear()
        since = self._since
        report = await asyncio.to_thread(self._push, batch)
        if report.written:
            metrics.CONVERGENCE_S.observe(time.monotonic() - since)
        self.on_push(report)
        return report

    def _push(self, batch: list[tuple[bool, Obj]]) -> Report:
        begun = time.monotonic()
        changed = [self.world.put(obj) if present else self.world.remove(obj) for present, obj in batch]
        restarted = [served for served in self.served.values() if self._started_anew(served)]
        if batch and not any(changed) and not restarted:
            return Report(self._number, 0.0, {})
        self._number += 1
        version = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}/{self._number}"
        # Gateways first: what changes is mostly theirs.
        found = sorted(proxies(self.world), key=lambda proxy: proxy.role)
        current = {proxy.uid: proxy for proxy in found}
        for uid in [uid for uid in self.served if uid not in current]:
            gone = self.served.pop(uid)
            gone.delivery.remove()
            self.secrets.forget(gone.proxy)
        written = {}
        for uid, proxy in current.items():
            served = self.served.get(uid)
            if served is None:
                served = self.served[uid] = Served(proxy, Delivery(self.xds_dir / uid))
            served.proxy = proxy
            if types := self._serve(served, version):
                written[uid] = types
        self._must_sweep = True
        self._ended = time.monotonic()
        self._last_s = self._ended - begun
        metrics.CONNECTED.set(len(self.served))
        metrics.SERVICES.set(len(self.world.all("Service")))
        metrics.REJECTED_CONFIGS.set(sum(len(s.problems) for s in self.served.values()))
        return Report(self._number, self._last_s, written)

    def _serve(self, served: Served, version: str) -> list[str]:
        """Translate for one proxy and write; a failure keeps its last good files."""
        begun = time.monotonic()
        proxy = self._frozen(served)
        try:
            resources = translate(self.world, proxy, Paths(str(served.delivery.folder)))
        except Exception as error:
            metrics.INTERNAL_ERRORS.inc()
            text = f"{type(error).__name__}: {error}"
            if text != served.error:
                LOG.exception("translation for %s.%s failed, its files stay", proxy.name, proxy.namespace)
            served.error = text
            return []
        served.error = ""
        for problem in resources.problems:
            if problem not in served.problems:
                LOG.warning("%s.%s: %s: %s", proxy.name, proxy.namespace, problem.object, problem.text)
        served.problems = list(resources.problems)
        secrets = {
            name: self.secrets.resource(self.world, proxy, name, ref)
            for name, ref in resources.secrets.items()
        }
        served.missing = {name for name, secret in secrets.items() if secret is None}
        wanted = Wanted(
            lds=resources.listeners,
            cds=self._with_zipkin(served, resources.clusters),
            rds=resources.routes,
            eds=resources.endpoints,
            sds=secrets,
        )
        try:
            types = served.delivery.push(wanted, version)
        except OSError as error:
            LOG.error("cannot write the files of %s.%s: %s; trying again", proxy.name, proxy.namespace, error)
            served.error = f"cannot write: {error}"
            self._must_retry = True
            return []
        for kind in types:
            metrics.PUSHES.labels(kind).inc()
        metrics.PUSH_S.observe(time.monotonic() - begun)
        if types:
            LOG.info("push %s to %s.%s: %s", version, proxy.name, proxy.namespace, " ".join(types))
        return types

    @staticmethod
    def _started_anew(served: Served) -> bool:
        """Read the node of the proxy's bootstrap if there is a new one."""
        path = served.delivery.folder / "bootstrap.json"
        try:
            stamp = path.stat().st_mtime
            if stamp == served.node_stamp:
                return False
            served.node = msgspec.json.decode(path.read_bytes())["node"]
        except (OSError, msgspec.DecodeError):
            return False  # not written yet or just being written; the next event of the pod comes here again
        served.node_stamp = stamp
        return True

    def _frozen(self, served: Served) -> Proxy:
        """The proxy with the ProxyConfig that it started with, as its bootstrap tells."""
        self._started_anew(served)
        config = served.node.get("metadata", {}).get("PROXY_CONFIG")
        return served.proxy if config is None else replace(served.proxy, effective=config)

    def _with_zipkin(self, served: Served, clusters: dict[str, Obj]) -> dict[str, Obj]:
        """The clusters and, where the bootstrap has a tracer, the one that it reports to."""
        config = served.node.get("metadata", {}).get("PROXY_CONFIG")
        address = proxyconfig.zipkin_address(config or self._about_to_start(served.proxy))
        if address is None:
            return clusters
        return {zipkin.CLUSTER: zipkin.cluster(self.world, address), **clusters}

    def _about_to_start(self, proxy: Proxy) -> Mapping[str, Any]:
        """The ProxyConfig that a proxy without bootstrap will start with, if it starts now."""
        pod = self.world.get("Pod", proxy.namespace, proxy.name)
        if pod is None:
            return {}
        mesh = self.world.get("ConfigMap", self.world.root_namespace, "istio") or {}
        text = (mesh.get("data") or {}).get("mesh", "") if proxy.role == "router" else ""
        try:
            return proxyconfig.of_pod(pod, bootstrap.proxy_container(pod), minor(proxy.minor), text)
        except LabError as error:
            LOG.warning("%s.%s will not start: %s", proxy.name, proxy.namespace, error.message)
            return {}

    def _sweep(self) -> None:
        self._must_sweep = False
        version = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}/{self._number}"
        for served in self.served.values():
            try:
                served.delivery.sweep(version)
            except OSError as error:
                LOG.error("cannot tidy %s: %s", served.delivery.folder, error)
