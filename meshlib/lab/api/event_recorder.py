"""Events about objects, as client-go's recorder writes them: what happens again is counted, not repeated."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from .errors import StatusError
from .store import Obj
from .strategy import now

REMEMBERED = 4096
TTL_S = 3600  # --event-ttl of a kube-apiserver


class _Objects(Protocol):
    async def create(self, resource: str, namespace: str | None, obj: Obj, *, manager: str) -> Obj: ...

    def list(self, resource: str) -> list[Obj]: ...

    async def delete(self, resource: str, namespace: str | None, name: str) -> Obj: ...

    def modify(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], None],
        *,
        subresource: str | None = None,
        manager: str,
    ) -> Awaitable[Obj]: ...


class EventRecorder:
    """Writes events; remembers the last few thousand to count repetitions."""

    def __init__(self, objects: _Objects) -> None:
        self._objects = objects
        self._names: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def record(self, regarding: Obj, type_: str, reason: str, message: str, component: str) -> None:
        """`type_` is Normal or Warning; where a namespace is going away nothing is recorded, as for real."""
        meta = regarding["metadata"]
        namespace = meta.get("namespace") or "default"
        known = (meta.get("uid", ""), namespace, meta["name"], type_, reason, message, component)
        try:
            if known in self._names and await self._count(namespace, self._names[known], component):
                return
            name = f"{meta['name']}.{time.time_ns():x}"  # as client-go: lists show them in order
            event = _event(regarding, name, namespace, type_, reason, message, component)
            await self._objects.create("events", namespace, event, manager=component)
        except StatusError as error:
            if error.status not in (403, 404):
                raise
            return
        self._names[known] = name
        if len(self._names) > REMEMBERED:
            self._names.popitem(last=False)

    async def expire(self, ttl_s: float = TTL_S) -> int:
        """Delete the events that nothing was added to for `ttl_s` seconds; returns how many."""
        oldest = datetime.now(UTC) - timedelta(seconds=ttl_s)
        gone = 0
        for event in self._objects.list("events"):
            meta = event["metadata"]
            last = event.get("lastTimestamp") or event.get("eventTime") or meta["creationTimestamp"]
            if datetime.fromisoformat(last) >= oldest:
                continue
            try:
                await self._objects.delete("events", meta["namespace"], meta["name"])
                gone += 1
            except StatusError as error:
                if error.status != 404:
                    raise
        return gone

    async def _count(self, namespace: str, name: str, component: str) -> bool:
        def again(event: Obj) -> None:
            event["count"] = event.get("count", 1) + 1
            event["lastTimestamp"] = now()

        try:
            await self._objects.modify("events", namespace, name, again, manager=component)
        except StatusError as error:
            if error.status != 404:
                raise
            return False
        return True


def _event(
    regarding: Obj, name: str, namespace: str, type_: str, reason: str, message: str, component: str
) -> Obj:
    meta = regarding["metadata"]
    involved = {
        "kind": regarding["kind"],
        "namespace": meta.get("namespace"),
        "name": meta["name"],
        "uid": meta.get("uid"),
        "apiVersion": regarding["apiVersion"],
        "resourceVersion": meta.get("resourceVersion"),
    }
    stamp = now()
    return {
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {key: value for key, value in involved.items() if value},
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "type": type_,
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": "",
    }
