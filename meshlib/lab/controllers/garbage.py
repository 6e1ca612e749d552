"""Garbage collection: what belongs to an owner that is gone goes too; foreground and orphan finalizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Event, Registry
from meshlib.lab.controllers.queue import Controller, Key, Obj, deleting

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
MANAGER = "garbage-collector"


class Where(NamedTuple):
    """An object by its place."""

    resource: str
    namespace: str | None
    name: str


class Garbage(Controller):
    """Keys are uids (in `name`): of an owner that has gone or is going, or of an object with owners."""

    name = "garbage-collector"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        skipped = {"events", "events.events.k8s.io"}
        self.watches = tuple(
            each.resource
            for each in registry.kinds
            if not each.virtual and "delete" in each.verbs and each.resource not in skipped
        )
        self._places: dict[str, Where] = {}
        self._dependents: dict[str, set[str]] = {}  # owner's uid → uids of those that name it
        self._owners: dict[str, set[str]] = {}

    def keys(self, event: Event) -> Iterable[Key]:
        meta = event.object["metadata"]
        uid = meta["uid"]
        owners = {each["uid"] for each in meta.get("ownerReferences") or []}
        for gone in self._owners.get(uid, set()) - owners:
            self._dependents.get(gone, set()).discard(uid)
        if event.type == "DELETED":
            self._places.pop(uid, None)
            for owner in self._owners.pop(uid, set()):
                self._dependents.get(owner, set()).discard(uid)
            # Dependents may have to go, and an owner in the foreground may now be free.
            return [Key("", each) for each in (*self._dependents.pop(uid, set()), *owners)]
        self._places[uid] = Where(event.resource, meta.get("namespace"), meta["name"])
        self._owners[uid] = owners
        for owner in owners:
            self._dependents.setdefault(owner, set()).add(uid)
        if owners or (deleting(event.object) and meta.get("finalizers")):
            return [Key("", uid)]
        return []

    async def reconcile(self, key: Key) -> None:
        uid = key.name
        place = self._places.get(uid)
        obj = self._get(place, uid) if place else None
        if obj is None or place is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        if deleting(obj):
            if ORPHAN in finalizers:
                await self._orphan(place, uid)
            elif FOREGROUND in finalizers:
                await self._foreground(place, uid)
            return
        await self._collect(place, obj)

    def _get(self, place: Where, uid: str) -> Obj | None:
        try:
            obj = self.registry.get(*place)
        except StatusError as error:
            if error.status == 404:
                return None
            raise
        return obj if obj["metadata"]["uid"] == uid else None

    def _owner(self, reference: Obj, namespace: str | None) -> Obj | None:
        """The owner that a reference means, if it is there."""
        group = reference["apiVersion"].rpartition("/")[0]
        kind = self.registry.kinds.of_kind(group, reference["kind"])
        if kind is None:
            return None
        place = Where(kind.resource, namespace if kind.namespaced else None, reference["name"])
        return self._get(place, reference["uid"])

    async def _collect(self, place: Where, obj: Obj) -> None:
        """Delete an object whose owners are gone or wait for it to go; else drop its dead references."""
        references = obj["metadata"].get("ownerReferences") or []
        if not references:
            return
        owners = {each["uid"]: self._owner(each, place.namespace) for each in references}
        solid: list[Obj] = []
        waiting: list[Obj] = []
        for reference in references:
            owner = owners[reference["uid"]]
            if owner is None:
                continue
            held = deleting(owner) and FOREGROUND in (owner["metadata"].get("finalizers") or [])
            (waiting if held else solid).append(reference)
        if solid:
            if len(solid) < len(references):
                alive = {each["uid"] for each in solid}
                await self._keep_references(place, alive)
            return
        policy = "Foreground" if waiting and self._dependents.get(obj["metadata"]["uid"]) else "Background"
        try:
            await self.registry.delete(*place, propagation=policy, uid=obj["metadata"]["uid"])
        except StatusError as error:
            if error.status not in (404, 409):
                raise

    async def _keep_references(self, place: Where, alive: set[str]) -> None:
        def change(live: Obj) -> None:
            kept = [each for each in live["metadata"].get("ownerReferences") or [] if each["uid"] in alive]
            live["metadata"]["ownerReferences"] = kept
            if not kept:
                del live["metadata"]["ownerReferences"]

        await self.registry.modify(*place, change, manager=MANAGER)

    async def _orphan(self, place: Where, uid: str) -> None:
        for dependent in list(self._dependents.get(uid, ())):
            where = self._places.get(dependent)
            obj = self._get(where, dependent) if where else None
            if obj is not None and where is not None:
                others = {each["uid"] for each in obj["metadata"].get("ownerReferences") or []} - {uid}
                await self._keep_references(where, others)
        await self._drop_finalizer(place, ORPHAN)

    async def _foreground(self, place: Where, uid: str) -> None:
        """Delete the dependents first; the owner goes when none that blocks it is left."""
        blocking = 0
        for dependent in list(self._dependents.get(uid, ())):
            where = self._places.get(dependent)
            obj = self._get(where, dependent) if where else None
            if obj is None or where is None:
                continue
            reference = next(each for each in obj["metadata"]["ownerReferences"] if each["uid"] == uid)
            blocking += bool(reference.get("blockOwnerDeletion"))
            if not deleting(obj):
                await self._collect(where, obj)
        if not blocking:
            await self._drop_finalizer(place, FOREGROUND)

    async def _drop_finalizer(self, place: Where, finalizer: str) -> None:
        def change(live: Obj) -> None:
            kept = [each for each in live["metadata"].get("finalizers") or [] if each != finalizer]
            live["metadata"]["finalizers"] = kept
            if not kept:
                del live["metadata"]["finalizers"]

        await self.registry.modify(*place, change, manager=MANAGER)
