"""Field ownership: server-side apply, and the upkeep of `managedFields` for every other write."""

from __future__ import annotations

import copy
from typing import Any

from .fieldset import (
    FieldSet,
    Path,
    child,
    compare,
    element,
    fields_of,
    from_fields_v1,
    granular,
    show,
    to_fields_v1,
    undeclared,
)
from .gofields import zero
from .model import ApplyConflict, Finding, KindRef, Obj, PatchError
from .nodes import Node
from .tables import schema

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"
_NOT_OWNED = frozenset(
    [
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                "managedFields", "resourceVersion",
            )
        ),
    ]
)  # fmt: skip


class _Owner:
    """One entry of managedFields, its fields as a set."""

    def __init__(self, entry: Obj) -> None:
        self.entry = {key: value for key, value in entry.items() if key != "fieldsV1"}
        self.fields: FieldSet = from_fields_v1(entry.get("fieldsV1") or {})

    @classmethod
    def new(cls, manager: str, operation: str, version: str, now: str, subresource: str = "") -> _Owner:
        entry = {"manager": manager, "operation": operation, "apiVersion": version, "time": now}
        return cls(
            {**entry, "fieldsType": "FieldsV1", **({"subresource": subresource} if subresource else {})}
        )

    @property
    def identity(self) -> tuple[str, str, str, str]:
        entry = self.entry
        version = entry.get("apiVersion", "") if entry.get("operation") == UPDATE else ""
        return entry.get("manager", ""), entry.get("operation", ""), version, entry.get("subresource", "")

    def __str__(self) -> str:
        manager, operation, version, subresource = self.identity
        text = f'"{manager}"' + (f' with subresource "{subresource}"' if subresource else "")
        return f"{text} using {version}" if operation == UPDATE else text

    def rendered(self) -> Obj:
        head: Obj = {
            key: self.entry[key]
            for key in ("manager", "operation", "apiVersion", "time")
            if key in self.entry
        }
        tail: Obj = {"fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(self.fields)}
        if self.entry.get("subresource"):
            tail["subresource"] = self.entry["subresource"]
        return {**head, **tail}


def _owners(obj: Obj | None) -> list[_Owner]:
    meta = (obj or {}).get("metadata")
    entries = meta.get("managedFields") if isinstance(meta, dict) else None
    return [_Owner(entry) for entry in entries or () if isinstance(entry, dict)]


def _store(obj: Obj, owners: list[_Owner]) -> None:
    kept = [owner for owner in owners if owner.fields]
    kept.sort(key=lambda each: (each.identity[1], each.entry.get("time", ""), each.identity))
    obj["metadata"]["managedFields"] = [owner.rendered() for owner in kept]


def _find(owners: list[_Owner], identity: tuple[str, str, str, str]) -> _Owner | None:
    return next((owner for owner in owners if owner.identity == identity), None)


def track(
    kind: KindRef, old: Obj | None, new: Obj, *, manager: str, operation: str, now: str, subresource: str = ""
) -> None:
    """Write into `new` who owns what after a create, update or patch by `manager`; `old` is None on a create.

    `now` is an RFC 3339 time. What changed becomes the manager's own and leaves all others, as an update in
    Kubernetes does; an entry whose fields did not change keeps its time.
    """
    owners = _owners(old if old is not None else new)
    change = compare(schema(kind) or Node(), old if old is not None else zero(kind), new)
    written = frozenset(change.written) - _NOT_OWNED
    if not written and not change.removed:
        _store(new, owners)
        return
    mine = _Owner.new(manager, operation, kind.api_version, now, subresource)
    present = _find(owners, mine.identity)
    for owner in owners:
        owner.fields = owner.fields - change.removed
        if owner is not present:
            owner.fields -= written
    if present is None:
        owners.append(mine)
        mine.fields = written
    else:
        fields = (present.fields | written) - change.removed
        if written or fields != present.fields:
            present.entry["time"] = now
        present.fields = fields
    _store(new, owners)


def apply(kind: KindRef, live: Obj | None, applied: Obj, *, manager: str, force: bool, now: str) -> Obj:
    """The object after a server-side apply of `applied`; `live` is None when it does not exist yet.

    Fields that this manager applied before and now leaves out go, unless another manager owns them. Raises
    ApplyConflict when a field changes that another manager owns and `force` is false, and PatchError 400 when
    `applied` has fields that the kind does not have (where a real server answers 500 with the same text).
    """
    if ((applied.get("metadata") or {}).get("managedFields")) is not None:
        raise PatchError(400, "metadata.managedFields must be nil")
    root = schema(kind) or Node()
    _check_declared(kind, root, applied)
    owners = _owners(live)
    if live is not None and not owners:
        first = _Owner.new(BEFORE_FIRST_APPLY, UPDATE, kind.api_version, now)
        first.fields = frozenset(fields_of(root, _plain(live))) - _NOT_OWNED
        owners = [first]
    before = _plain(live) if live is not None else {}
    mine = _Owner.new(manager, APPLY, kind.api_version, now)
    mine.fields = frozenset(fields_of(root, applied)) - _NOT_OWNED
    previous = _find(owners, mine.identity)
    owners = [owner for owner in owners if owner is not previous] + [mine]
    merged: Obj = _merge(root, before, applied)
    if previous is not None:
        kept = _with_parents(owners)
        _drop(root, merged, previous.fields - kept, kept)
    change = compare(root, before, merged)
    written = frozenset(change.written) - _NOT_OWNED
    conflicts = [(owner, sorted(owner.fields & written)) for owner in owners if owner is not mine]
    if not force and any(paths for _, paths in conflicts):
        raise _conflict([(owner, path) for owner, paths in conflicts for path in paths])
    for owner in owners:
        if owner is not mine:
            owner.fields = owner.fields - written - change.removed
    if previous is not None and previous.fields == mine.fields and not written and not change.removed:
        mine.entry["time"] = previous.entry.get("time", now)
    merged.setdefault("metadata", {})
    _store(merged, owners)
    return merged


def _check_declared(kind: KindRef, root: Node, applied: Obj) -> None:
    found = [f"{show(path)}: field not declared in schema" for path in undeclared(root, applied)]
    if not found:
        return
    meta = applied.get("metadata") or {}
    what = (
        f"{meta.get('namespace', '')}/{meta.get('name', '')}; {kind.group}/{kind.version}, Kind={kind.kind}"
    )
    listed = found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {each}" for each in found)])
    raise PatchError(500, f"failed to create typed patch object ({what}): {listed}", "")


def _plain(obj: Obj) -> Obj:
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def _conflict(found: list[tuple[_Owner, Path]]) -> ApplyConflict:
    causes = [Finding(show(path), "FieldManagerConflict", f"conflict with {owner}") for owner, path in found]
    if len(causes) == 1:
        return ApplyConflict(causes, f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}")
    lines: list[str] = []
    for name in sorted({str(owner) for owner, _ in found}):
        lines.append(f"conflicts with {name}:")
        lines += [f"- {show(path)}" for owner, path in found if str(owner) == name]
    return ApplyConflict(causes, f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines))


def _with_parents(owners: list[_Owner]) -> set[Path]:
    """What is owned, and the named fields that lead there."""
    found: set[Path] = set()
    for path in (path for owner in owners for path in owner.fields):
        found.add(path)
        found.update(path[:end] for end in range(1, len(path)) if path[end - 1].startswith("f:"))
    return found


def _merge(node: Node, old: Any, new: Any) -> Any:
    how = granular(node)
    if how == "map" and isinstance(old, dict) and isinstance(new, dict):
        merged = dict(old)
        for key, value in new.items():
            merged[key] = _merge(child(node, key)[0], old.get(key), value)
        return merged
    if how in ("list", "set") and isinstance(old, list) and isinstance(new, list):
        entries = {element(node, entry): entry for entry in old}
        fresh = {element(node, entry): entry for entry in new}
        if len(fresh) != len(new):
            raise PatchError(
                400, "failed to create typed patch object: duplicate entries in an associative list"
            )
        inner = node.items or Node()
        result = []
        for key, entry in entries.items():
            result.append(_merge(inner, entry, fresh.pop(key)) if key in fresh else entry)
        return [*result, *copy.deepcopy(list(fresh.values()))]
    return copy.deepcopy(new)


def _drop(node: Node, obj: Obj, gone: FieldSet, kept: set[Path]) -> None:
    """Remove the paths from the object, in place, and containers that end up empty by it unless they are
    `kept`.
    """
    for path in sorted(gone, key=len):
        _drop_one(node, obj, path, (), kept)


def _drop_one(node: Node, value: Any, path: Path, at: Path, kept: set[Path]) -> bool:
    """Whether something was there to remove; what changes on the way is copied first."""
    head, rest = path[0], path[1:]
    here = (*at, head)
    if isinstance(value, dict) and head.startswith("f:"):
        key = head[2:]
        if key not in value:
            return False
        inner = copy.copy(value[key])
        if rest and not _drop_one(child(node, key)[0], inner, rest, here, kept):
            return False
        if not rest or (not inner and here not in kept):
            del value[key]
        else:
            value[key] = inner
        return True
    if isinstance(value, list):
        for index, entry in enumerate(value):
            if element(node, entry) == head:
                inner = copy.copy(entry)
                if not rest:
                    del value[index]
                elif _drop_one(node.items or Node(), inner, rest, here, kept):
                    value[index] = inner
                return True
    return False
