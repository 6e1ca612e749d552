"""The registry: what controllers, the kubelet and REST call to read and change objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple, Self

from .allocation import Allocator
from .codec import whole
from .deletion import DeleteOptions
from .errors import StatusError, conflict, not_found
from .event_recorder import EventRecorder
from .kind_table import KINDS
from .kinds import Kind
from .store import Change, Obj, Store, Verb, key_of
from .webhooks import Webhooks
from .writes import Write, Writer

RETRIES = 10


class Event(NamedTuple):
    """A change of one object; `old` is what was there before, None for ADDED.

    Objects are shared by all subscribers: read them, and change them only through the registry.
    """

    type: Verb
    resource: str
    object: Obj
    old: Obj | None


class Subscription:
    """An endless async iterator of events; `close` ends it (also as a context manager)."""

    def __init__(self, close: Callable[[Subscription], None], first: list[Event]) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._close = close
        for event in first:
            self._queue.put_nowait(event)

    def push(self, event: Event) -> None:
        self._queue.put_nowait(event)

    @property
    def empty(self) -> bool:
        """Whether everything up to now has been read."""
        return self._queue.empty()

    def close(self) -> None:
        self._close(self)
        self._queue.put_nowait(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event


@dataclass(frozen=True, slots=True)
class _Subscriber:
    resources: frozenset[str]
    subscription: Subscription


class Registry:
    """Objects as plain JSON dictionaries, by resource (`plural.group`), namespace and name.

    Every object has `apiVersion` and `kind` at the kind's preferred version.  In-process callers go through
    the same admission, validation and storage as REST.  All methods raise StatusError; a resource that is not
    in the table is a KeyError, because that is a mistake in the code.
    """

    def __init__(self, store: Store, allocator: Allocator) -> None:
        self.store = store
        self.kinds = KINDS
        self.writer = Writer(store, allocator)
        self._subscribers: list[_Subscriber] = []
        self.events = EventRecorder(self)
        self.webhooks = Webhooks(self)
        self.writer.mutate = self.webhooks.mutate
        self.writer.validate = self.webhooks.validate
        store.listen(self.webhooks.forget)
        store.listen(self._publish)

    def get(self, resource: str, namespace: str | None, name: str) -> Obj:
        """The object; raises StatusError 404."""
        kind = self.kinds.resource(resource)
        if (found := self.find(resource, namespace, name)) is None:
            raise not_found(kind.plural, kind.group, name)
        return found

    def find(self, resource: str, namespace: str | None, name: str) -> Obj | None:
        """The object, None where there is none."""
        kind = self.kinds.resource(resource)
        row = self.store.get(kind.stored, key_of(namespace if kind.namespaced else None, name))
        return whole(kind, row.body) if row else None

    def list(
        self, resource: str, namespace: str | None = None, *, labels: Mapping[str, str] | None = None
    ) -> list[Obj]:
        """All objects of a namespace, or of all; with `labels`, those that have every one of them."""
        kind = self.kinds.resource(resource)
        found = [whole(kind, row.body) for row in self.store.page(kind.stored, namespace)]
        if not labels:
            return found
        wanted = labels.items()
        return [each for each in found if wanted <= (each["metadata"].get("labels") or {}).items()]

    async def create(self, resource: str, namespace: str | None, obj: Obj, *, manager: str) -> Obj:
        """Create `obj`, which is not changed; raises StatusError 409 AlreadyExists, 422 Invalid, 403, 404."""
        kind = self.kinds.resource(resource)
        return await self.writer.create(kind, namespace, deepcopy(obj), Write(manager))

    async def update(self, resource: str, obj: Obj, *, subresource: str | None = None, manager: str) -> Obj:
        """Replace the object; raises StatusError 409 Conflict on a stale resourceVersion."""
        kind = self.kinds.resource(resource)
        meta = obj["metadata"]
        new = deepcopy(obj)

        def replace(_: Obj) -> Obj:
            return new

        return await self.writer.update(
            kind, meta.get("namespace"), meta["name"], replace, Write(manager), subresource
        )

    async def modify(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], None],
        *,
        subresource: str | None = None,
        manager: str,
    ) -> Obj:
        """Read the object, let `change` change it in place, write it; again on a conflict."""
        kind = self.kinds.resource(resource)

        def changed(live: Obj) -> Obj:
            new = deepcopy(live)
            change(new)
            return new

        for _ in range(RETRIES):
            try:
                return await self.writer.update(kind, namespace, name, changed, Write(manager), subresource)
            except StatusError as error:
                if error.status != 409 or error.reason != "Conflict":
                    raise
        raise conflict(kind.plural, kind.group, name)

    async def delete(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        propagation: str | None = None,
        grace_s: int | None = None,
        uid: str | None = None,
    ) -> Obj:
        """Delete the object, or mark it where finalizers or a grace period hold it; returns it as it is then.

        `propagation` is Background, Foreground or Orphan; `uid` guards against deleting a successor (409).
        """
        kind = self.kinds.resource(resource)
        options = DeleteOptions(grace_s=grace_s, propagation=propagation, uid=uid)
        _, obj = await self.writer.delete(kind, namespace, name, options, Write("meshlib-lab"))
        return obj

    def subscribe(self, *resources: str) -> Subscription:
        """Events of these resources from now on; the objects that exist come first, as ADDED."""
        kinds = [self.kinds.resource(each) for each in resources]
        first = [
            Event("ADDED", kind.resource, each, None) for kind in kinds for each in self.list(kind.resource)
        ]
        subscription = Subscription(self._unsubscribe, first)
        wanted = frozenset(kind.resource for kind in kinds)
        self._subscribers.append(_Subscriber(wanted, subscription))
        return subscription

    async def event(self, regarding: Obj, type_: str, reason: str, message: str, *, component: str) -> None:
        """Record what happened to an object; the same thing again counts up the first event's `count`."""
        await self.events.record(regarding, type_, reason, message, component)

    def _publish(self, change: Change) -> None:
        kind: Kind | None = None
        event: Event | None = None
        for subscriber in tuple(self._subscribers):
            if change.resource in subscriber.resources:
                if event is None:
                    kind = kind or self.kinds.resource(change.resource)
                    old = whole(kind, change.old) if change.old else None
                    event = Event(change.verb, change.resource, whole(kind, change.body), old)
                subscriber.subscription.push(event)

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscribers = [each for each in self._subscribers if each.subscription is not subscription]
