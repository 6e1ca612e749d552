"""Creating, updating and deleting: defaults, admission, validation, storage, in a real server's order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab import schema

from . import deletion, pods, service_types, strategy
from .allocation import Allocator
from .codec import decode, stored, whole
from .deletion import DeleteOptions
from .errors import StatusError, already_exists, conflict, forbidden, invalid, not_found
from .kinds import Kind
from .store import Obj, Stale, Store, key_of
from .webhook_rules import EXEMPT, unsupported

ATTEMPTS = 10
ADMIN = {"username": "system:admin", "groups": ["system:masters", "system:authenticated"]}
MUST_HAVE_VERSION = (
    "metadata.resourceVersion",
    "FieldValueInvalid",
    "Invalid value: 0: must be specified for an update",
)


@dataclass(slots=True)
class Write:
    """Who writes and how.  `version` is the API version of the request; `warnings`
    collects texts for the caller; `manager` owns the fields that change, unless `track` is false; `replace`
    is a PUT; `system` may write what the lab refuses to users.
    """

    manager: str
    version: str = ""
    dry_run: bool = False
    operation: str = "Update"
    replace: bool = False
    system: bool = False
    track: bool = True
    warnings: list[str] = field(default_factory=list)
    user: dict[str, Any] = field(
        default_factory=lambda: {"username": "system:admin", "groups": ["system:masters"]}
    )


Admission = Callable[[Kind, str, Obj | None, Obj | None, Write, str], Awaitable[Obj | None]]


async def no_webhooks(
    kind: Kind, verb: str, new: Obj | None, old: Obj | None, write: Write, subresource: str
) -> Obj | None:
    """The admission of a server without webhooks."""
    return new


Grant = Callable[[Kind, Obj, Obj | None, dict[str, Any]], None]


def grant_all(kind: Kind, new: Obj, old: Obj | None, user: dict[str, Any]) -> None:
    """The check of roles and bindings of a server without callers."""


class Writer:
    """The one path of a write.  Objects that are passed in are changed; callers hand over copies."""

    def __init__(self, store: Store, allocator: Allocator) -> None:
        self._store = store
        self._allocator = allocator
        self.mutate: Admission = no_webhooks
        self.validate: Admission = no_webhooks
        self.grant: Grant = grant_all

    # -- create

    async def create(self, kind: Kind, namespace: str | None, obj: Obj, write: Write) -> Obj:
        """Raises StatusError: 404 no such namespace, 403 refused, 409 exists, 422 invalid."""
        meta = obj.setdefault("metadata", {})
        _set_type(kind, obj)
        strategy.decode_text(kind, obj)
        if kind.namespaced:
            meta["namespace"] = namespace or meta.get("namespace") or "default"
        else:
            meta.pop("namespace", None)
        shown = meta.get("name") or meta.get("generateName") or "Unknown"
        if meta.get("resourceVersion") not in (None, "", "0"):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        _refuse(kind, shown, write)
        if kind.namespaced:
            self._check_namespace(kind, meta["namespace"], shown)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = strategy.generated_name(meta["generateName"])
        schema.default(kind.ref, obj)
        obj = await self._mutate(kind, "CREATE", obj, None, write, "")
        strategy.prepare_create(kind, obj)
        if kind.resource == "services":
            # Validation first: what is no Service gets no address.
            self._validate(kind, obj, None)
            self._allocator.complete(obj, None, self._others("services", None))
        self._track(kind, None, obj, write)
        self._validate(kind, obj, None)
        self.grant(kind, obj, None, write.user)
        await self.validate(kind, "CREATE", obj, None, write, "")
        return self._store_new(kind, obj, write)

    def _store_new(self, kind: Kind, obj: Obj, write: Write) -> Obj:
        meta = obj["metadata"]
        key = key_of(meta.get("namespace"), meta["name"])
        if row := self._store.get(kind.stored, key):
            leaving = "deletionTimestamp" in decode(row.body)["metadata"]
            raise already_exists(kind.plural, kind.group, meta["name"], leaving=leaving)
        if not write.dry_run:
            self._store.put(kind.stored, key, stored(obj), expect=0)
        return obj

    # -- update

    async def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        change: Callable[[Obj], Obj],
        write: Write,
        subresource: str | None = None,
    ) -> Obj:
        """Store what `change` makes of the live object (which it must not change).

        `change` is called again when someone else was faster, unless its result carries a resourceVersion
        that is no longer the stored one (409 Conflict).
        """
        key = key_of(namespace if kind.namespaced else None, name)
        for _ in range(ATTEMPTS):
            row = self._store.get(kind.stored, key)
            if row is None:
                raise not_found(kind.plural, kind.group, name)
            old = whole(kind, row.body)
            new = change(old)
            try:
                return await self._update(kind, key, old, row.version, new, write, subresource)
            except Stale:
                continue
        raise conflict(kind.plural, kind.group, name)

    async def _update(
        self, kind: Kind, key: str, old: Obj, version: int, new: Obj, write: Write, subresource: str | None
    ) -> Obj:
        meta = new.setdefault("metadata", {})
        _set_type(kind, new)
        strategy.decode_text(kind, new)
        name = old["metadata"]["name"]
        if subresource is None:
            _refuse(kind, name, write)
        if meta.get("uid") and meta["uid"] != old["metadata"]["uid"]:
            if not write.replace:
                message = f'Invalid value: "{meta["uid"]}": field is immutable'
                raise invalid(kind.group, kind.kind, name, [("metadata.uid", "FieldValueInvalid", message)])
            place = f"{kind.plural}/{old['metadata'].get('namespace', '')}".rstrip("/")
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{place}/{name}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {meta['uid']}, "
                f"UID in object meta: {old['metadata']['uid']}"
            )
            raise conflict(kind.plural, kind.group, name, why)
        asked = meta.get("resourceVersion")
        if asked and asked != str(version):
            raise conflict(kind.plural, kind.group, name)
        if not asked and kind.put_needs_version and write.replace:
            raise invalid(kind.group, kind.plural, name, [MUST_HAVE_VERSION])
        meta["resourceVersion"] = str(version)
        if kind.namespaced:
            meta.setdefault("namespace", old["metadata"].get("namespace"))
        schema.default(kind.ref, new)
        new = await self._mutate(kind, "UPDATE", new, old, write, subresource or "")
        strategy.prepare_update(kind, new, old, subresource)
        if kind.resource == "services" and not subresource:
            service_types.settle(new, old)
            self._validate(kind, new, old)
            self._allocator.complete(new, old, self._others("services", key))
        deletion.check_finalizers(kind, new, old)
        self._validate(kind, new, _bound(old, new) if subresource == "binding" else old)
        self.grant(kind, new, old, write.user)
        await self.validate(kind, "UPDATE", new, old, write, subresource or "")
        self._track(kind, old, new, write, subresource or "")
        if _same(new, old):
            return old
        if write.dry_run:
            return new
        if deletion.finished(kind, new, old):
            self._store.delete(kind.stored, key, stored(new), expect=version)
        else:
            self._store.put(kind.stored, key, stored(new), expect=version)
        return new

    # -- delete

    async def delete(
        self, kind: Kind, namespace: str | None, name: str, options: DeleteOptions, write: Write
    ) -> tuple[bool, Obj]:
        """Whether the object is gone, and the object as it is now or last was."""
        key = key_of(namespace if kind.namespaced else None, name)
        for _ in range(ATTEMPTS):
            row = self._store.get(kind.stored, key)
            if row is None:
                raise not_found(kind.plural, kind.group, name)
            old = whole(kind, row.body)
            _refuse(kind, name, write)
            deletion.check_preconditions(kind, old, options)
            await self.validate(kind, "DELETE", None, old, write, "")
            obj = deepcopy(old)
            gone = deletion.mark(kind, obj, options)
            if write.dry_run or (not gone and obj == old):
                return gone, obj
            try:
                if gone and kind.resource == "pods" and "deletionTimestamp" not in old["metadata"]:
                    # A pod that goes at once is seen to be going first.
                    version = self._store.put(kind.stored, key, stored(obj), expect=row.version)
                    self._store.delete(kind.stored, key, stored(obj), expect=version)
                elif gone:
                    self._store.delete(kind.stored, key, stored(obj), expect=row.version)
                else:
                    self._store.put(kind.stored, key, stored(obj), expect=row.version)
            except Stale:
                continue
            return gone, obj
        raise conflict(kind.plural, kind.group, name)

    # -- parts

    async def _mutate(self, kind: Kind, verb: str, new: Obj, old: Obj | None, write: Write, part: str) -> Obj:
        """The server's own admission, then the webhooks'."""
        if kind.resource == "pods" and verb == "CREATE":
            pods.admit(new, self._account_of(new), self._priority_of(new))
        changed = await self.mutate(kind, verb, new, old, write, part)
        if changed is None or changed is new:
            return new
        schema.default(kind.ref, changed)
        return changed

    def _account_of(self, pod: Obj) -> Obj:
        namespace = pod["metadata"]["namespace"]
        name = (pod.get("spec") or {}).get("serviceAccountName") or "default"
        row = self._store.get("serviceaccounts", key_of(namespace, name))
        if row is None:
            shown = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
            why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden("pods", "", shown, why)
        account: Obj = decode(row.body)
        return account

    def _priority_of(self, pod: Obj) -> int:
        spec = pod.get("spec") or {}
        found = self._priority_of_class(pod, spec.get("priorityClassName") or "")
        if spec.get("priority") not in (None, found):
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
                f"priority admission controller computed {found} from the given PriorityClass name"
            )
            raise forbidden("pods", "", pod["metadata"].get("name", ""), why)
        return found

    def _priority_of_class(self, pod: Obj, name: str) -> int:
        if not name:
            return 0
        if name in pods.SYSTEM_PRIORITIES:
            return pods.SYSTEM_PRIORITIES[name]
        row = self._store.get("priorityclasses.scheduling.k8s.io", name)
        if row is None:
            shown = pod["metadata"].get("name", "")
            raise forbidden("pods", "", shown, f"no PriorityClass with name {name} was found")
        return int(decode(row.body)["value"])

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        row = self._store.get("namespaces", namespace)
        if row is None:
            raise not_found("namespaces", "", namespace)
        if "deletionTimestamp" in decode(row.body)["metadata"]:
            raise deletion.terminating(kind, namespace, name)

    def _others(self, resource: str, key: str | None) -> list[Obj]:
        return [decode(row.body) for row in self._store.page(resource) if row.key != key]

    def _track(self, kind: Kind, old: Obj | None, new: Obj, write: Write, part: str = "") -> None:
        """Record who owns which fields; a server-side apply has done so itself."""
        if write.track:
            ref = kind.at(write.version or kind.version)
            schema.track(
                ref,
                old,
                new,
                manager=write.manager,
                operation=write.operation,
                now=strategy.now(),
                subresource=part,
            )
            if not new["metadata"].get("managedFields"):
                new["metadata"].pop("managedFields", None)

    def _validate(self, kind: Kind, new: Obj, old: Obj | None) -> None:
        found = schema.validate(kind.ref, new, old=old)
        causes = [(each.field, each.reason, each.message) for each in found]
        if kind.plural in EXEMPT:
            causes += unsupported(new)
        if causes:
            raise invalid(kind.group, kind.kind, new["metadata"].get("name", ""), causes)


def _bound(old: Obj, new: Obj) -> Obj:
    """A pod as if it had been bound before: binding is the one write that may give a pod its node."""
    return {**old, "spec": {**old["spec"], "nodeName": new["spec"].get("nodeName", "")}}


def _refuse(kind: Kind, name: str, write: Write) -> None:
    """Raises StatusError 403 for kinds whose objects users cannot have here."""
    if kind.refusal and not write.system:
        raise forbidden(kind.plural, kind.group, name, kind.refusal)


def _set_type(kind: Kind, obj: Obj) -> None:
    obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind


def _same(new: Obj, old: Obj) -> bool:
    """Whether a write changed nothing; when a field was last written does not count."""
    if any(new.get(key) != old.get(key) for key in {*new, *old} - {"metadata"}):
        return False
    before, after = dict(old["metadata"]), dict(new["metadata"])
    owners = before.pop("managedFields", None), after.pop("managedFields", None)
    return before == after and _untimed(owners[0]) == _untimed(owners[1])


def _untimed(owners: list[Obj] | None) -> list[Obj]:
    return [{key: value for key, value in each.items() if key != "time"} for each in owners or []]
