"""The frame of a controller: watched objects become keys, keys are reconciled one at a time, failures
again later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Event, Registry

log = logging.getLogger(__name__)

Obj = dict[str, Any]
FIRST_RETRY_S, LONGEST_RETRY_S = 0.02, 60.0  # client-go's ItemExponentialFailureRateLimiter starts at 5 ms


class Key(NamedTuple):
    """What a reconcile is about."""

    namespace: str
    name: str


class Queue:
    """Keys to reconcile: each is in it at most once; `later` puts a key back after a time."""

    def __init__(self) -> None:
        self._ready: dict[Key, None] = {}
        self._later: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        self._ready[key] = None
        self._wake.set()

    def later(self, key: Key, delay_s: float) -> None:
        due_s = time.monotonic() + delay_s
        self._later[key] = min(due_s, self._later.get(key, due_s))
        self._wake.set()

    def retry(self, key: Key) -> float:
        """Again, after a pause that doubles with each failure of this key; returns the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause_s = min(FIRST_RETRY_S * 2.0**failures, LONGEST_RETRY_S)
        self.later(key, pause_s)
        return pause_s

    def forget(self, key: Key) -> None:
        """The key went well: its next failure starts from the shortest pause."""
        self._failures.pop(key, None)

    @property
    def empty(self) -> bool:
        """Nothing is due now."""
        return not self._ready

    async def get(self) -> Key:
        while True:
            now_s = time.monotonic()
            for key in [key for key, due_s in self._later.items() if due_s <= now_s]:
                del self._later[key]
                self._ready[key] = None
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                return key
            self._wake.clear()
            wait_s = min(self._later.values(), default=now_s + 3600) - now_s
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                continue


class Controller:
    """A subclass says what it watches, which keys an event touches, and how one key is reconciled."""

    name = "controller"
    watches: tuple[str, ...] = ()

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.queue = Queue()
        self.settled = asyncio.Event()  # what there was at the start has been looked at

    def keys(self, event: Event) -> Iterable[Key]:
        """The keys to reconcile after an event."""
        raise LookupError(f"{self.name} does not say which keys an event touches")

    async def reconcile(self, key: Key) -> float | None:
        """Bring one key closer to what is wanted; seconds until it should be looked at again, or None."""
        raise LookupError(f"{self.name} does not reconcile {key}")

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._work())

    async def _follow(self) -> None:
        with self.registry.subscribe(*self.watches) as events:
            if events.empty:
                self.settled.set()
            async for event in events:
                for key in self.keys(event):
                    self.queue.add(key)
                if events.empty and self.queue.empty:
                    self.settled.set()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again_s = await self.reconcile(key)
            except StatusError as error:
                pause_s = self.queue.retry(key)
                level = logging.DEBUG if error.status in (404, 409) else logging.WARNING
                log.log(level, "%s %s/%s: %s; again in %.2f s", self.name, *key, error, pause_s)
            except Exception:
                pause_s = self.queue.retry(key)
                log.exception("%s %s/%s failed; again in %.2f s", self.name, *key, pause_s)
            else:
                self.queue.forget(key)
                if again_s is not None:
                    self.queue.later(key, again_s)
            if self.queue.empty:
                self.settled.set()
            await asyncio.sleep(0)

    # -- what many controllers need

    def find(self, resource: str, key: Key) -> Obj | None:
        """The object, or None."""
        try:
            return self.registry.get(resource, key.namespace or None, key.name)
        except StatusError as error:
            if error.status == 404:
                return None
            raise


def key_of(obj: Obj) -> Key:
    meta = obj["metadata"]
    return Key(meta.get("namespace", ""), meta["name"])


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference of the object's managing controller."""
    return next(
        (each for each in obj["metadata"].get("ownerReferences") or [] if each.get("controller")), None
    )


def owner_key(obj: Obj, kind: str) -> list[Key]:
    """The key of the managing controller, if it is of `kind`."""
    owner = controller_of(obj)
    if owner and owner["kind"] == kind:
        return [Key(obj["metadata"].get("namespace", ""), owner["name"])]
    return []


def reference(owner: Obj) -> Obj:
    """The owner reference that a controller writes into what it makes for `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def deleting(obj: Obj) -> bool:
    return "deletionTimestamp" in obj["metadata"]
