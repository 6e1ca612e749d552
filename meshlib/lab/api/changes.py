"""POST, PUT, PATCH and DELETE of stored objects."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from starlette.responses import Response

from meshlib.lab import schema
from meshlib.lab.schema import KindRef

from . import bodies, patching
from .bodies import SCHEME
from .call import Call
from .codec import whole
from .convert import at_version, to_stored
from .deletion import DeleteOptions
from .errors import StatusError, bad_request, conflict, invalid, method_not_allowed, not_found
from .kind_table import stored_kind
from .listing import Selection
from .request import META, Query, Target, WriteOptions, write_options
from .responses import json_response, success
from .scale import from_scale, to_scale
from .store import Obj, key_of

SCALE = KindRef("autoscaling", "v1", "Scale")
_POLICIES = ("Foreground", "Background", "Orphan")


async def create(call: Call) -> Response:
    """POST to a collection."""
    target = call.target
    if target.kind.namespaced and target.namespace is None:
        raise method_not_allowed()
    options = write_options(call.query, "CreateOptions")
    obj = _own_object(call, options)
    kind = stored_kind(target.kind)
    made = await call.registry.writer.create(
        kind, target.namespace, to_stored(target.kind, obj), call.write(options)
    )
    return call.answer(_shown(target, made), 201)


async def replace(call: Call) -> Response:
    """PUT of an object or of its status, scale or finalizers."""
    target = call.target
    options = write_options(call.query, "UpdateOptions")
    if target.subresource == "scale":
        scale = bodies.read_object(target, call.body, call.content_type, kind=SCALE)
        bodies.check_names(target, scale)
        made = await _update(call, lambda live: from_scale(deepcopy(live), scale), options)
        return call.answer(to_scale(made))
    obj = to_stored(target.kind, _own_object(call, options))
    try:
        made = await _update(call, lambda _: deepcopy(obj), options, replace=True)
    except StatusError as error:
        if error.status != 404 or not target.kind.put_creates or target.subresource:
            raise
        made = await call.registry.writer.create(
            stored_kind(target.kind), target.namespace, obj, call.write(options)
        )
        return call.answer(_shown(target, made), 201)
    return call.answer(_shown(target, made))


async def patch(call: Call) -> Response:
    """PATCH of an object or of its status or scale."""
    target = call.target
    media = patching.patch_type(target.kind, call.content_type)
    options = write_options(call.query, "PatchOptions", apply=media == patching.APPLY)
    ref = SCALE if target.subresource == "scale" else target.kind.at(target.version)
    value = patching.read_patch(media, ref, call.body)
    if media == patching.APPLY and target.subresource != "scale":
        return await _apply(call, value, options)

    def change(live: Obj) -> Obj:
        call.warnings.clear()
        if target.subresource == "scale":
            made = patching.patched(media, SCALE, to_scale(live), value)
            return from_scale(deepcopy(live), made)
        shown = at_version(target.kind, deepcopy(live), target.version)
        made = patching.patched(media, ref, shown, value)
        patching.prune_patched(media, ref, made, value, options.validation, call.warnings)
        _unpatchable(target, live, made)
        return to_stored(target.kind, made)

    made = await _update(call, change, options)
    return call.answer(to_scale(made) if target.subresource == "scale" else _shown(target, made))


async def _apply(call: Call, value: Obj, options: WriteOptions) -> Response:
    target, writer = call.target, call.registry.writer
    ref = target.kind.at(target.version)
    value["metadata"].setdefault("name", target.name)
    bodies.check_names(target, value)
    write = call.write(options, operation="Apply", track=False)

    def change(live: Obj) -> Obj:
        call.warnings.clear()
        shown = at_version(target.kind, deepcopy(live), target.version)
        made = patching.applied(ref, shown, deepcopy(value), options)
        return to_stored(target.kind, made)

    for _ in range(2):
        try:
            made = await writer.update(
                target.kind, target.namespace, target.name or "", change, write, target.subresource
            )
            return call.answer(_shown(target, made))
        except StatusError as error:
            if error.status != 404 or target.subresource:
                raise
        if uid := value["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(target.kind.plural, target.kind.group, target.name or "", why)
        new = patching.applied(ref, None, deepcopy(value), options)
        try:
            made = await writer.create(target.kind, target.namespace, to_stored(target.kind, new), write)
            return call.answer(_shown(target, made), 201)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    raise not_found(target.kind.plural, target.kind.group, target.name or "")


async def delete(call: Call) -> Response:
    """DELETE of one object."""
    target, kind = call.target, call.target.kind
    options, dry_run = _delete_options(call)
    write = call.write(WriteOptions(dry_run=dry_run))
    gone, obj = await call.registry.writer.delete(
        stored_kind(kind), target.namespace, target.name or "", options, write
    )
    if gone and not kind.delete_object:
        details: dict[str, Any] = {"name": obj["metadata"]["name"]}
        if kind.group:
            details["group"] = kind.group
        details.update(kind=kind.plural, uid=obj["metadata"]["uid"])
        return json_response(success(details=details), form=call.form, warnings=call.warnings)
    return call.answer(_shown(target, obj))


async def delete_collection(call: Call) -> Response:
    """DELETE of all objects that the selectors take; answers with the list of them."""
    target, kind = call.target, call.target.kind
    if kind.namespaced and target.namespace is None:
        raise method_not_allowed()
    options, dry_run = _delete_options(call)
    selection = Selection.of(kind, call.query)
    store = call.registry.store
    deleted = []
    for row in store.page(kind.stored, target.namespace):
        if not selection.holds(row.body):
            continue
        name = row.key.rpartition("/")[2]
        write = call.write(WriteOptions(dry_run=dry_run))
        try:
            await call.registry.writer.delete(stored_kind(kind), target.namespace, name, options, write)
        except StatusError as error:
            if error.status != 404:
                raise
            continue
        deleted.append(_shown(target, whole(kind, row.body)))
    metadata: Obj = {"resourceVersion": str(store.version)}
    ref = kind.at(target.version)
    if kind.custom:
        metadata["continue"] = ""
    else:
        deleted = [{k: v for k, v in each.items() if k not in ("apiVersion", "kind")} for each in deleted]
    head = {"kind": f"{kind.kind}List", "apiVersion": ref.api_version, "metadata": metadata}
    return json_response({**head, "items": deleted}, form=call.form, warnings=call.warnings)


def get_scale(call: Call) -> Response:
    target, kind = call.target, call.target.kind
    row = call.registry.store.get(kind.stored, key_of(target.namespace, target.name or ""))
    if row is None:
        raise not_found(kind.plural, kind.group, target.name or "")
    return call.answer(to_scale(whole(kind, row.body)))


async def _update(call: Call, change: Any, options: WriteOptions, *, replace: bool = False) -> Obj:
    target = call.target
    subresource = None if target.subresource == "scale" else target.subresource
    return await call.registry.writer.update(
        stored_kind(target.kind),
        target.namespace,
        target.name or "",
        change,
        call.write(options, replace=replace),
        subresource,
    )


def _own_object(call: Call, options: WriteOptions) -> Obj:
    """The body as an object of the target's kind, with its unknown fields dropped, warned of or refused."""
    target = call.target
    obj = bodies.read_object(target, call.body, call.content_type)
    bodies.check_names(target, obj)
    call.warnings += bodies.checked_fields(target.kind, target.version, obj, call.body, options.validation)
    return obj


def _shown(target: Target, obj: Obj) -> Obj:
    return at_version(target.kind, obj, target.version)


def _unpatchable(target: Target, live: Obj, made: Obj) -> None:
    """A patch may not make an object another one; raises StatusError 400."""
    was, now = live["metadata"], made["metadata"]
    if now.get("name") != was["name"]:
        raise bad_request(
            f"the name of the object ({now.get('name', '')}) does not match the name on the URL "
            f"({was['name']})"
        )
    if target.namespace and now.get("namespace") != was.get("namespace"):
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _delete_options(call: Call) -> tuple[DeleteOptions, bool]:
    """Options of a DELETE: the body's if there is one, else the query's; raises StatusError 400, 422."""
    given = _options_body(call) if call.body.strip() else _options_query(call.query)
    causes: list[tuple[str, str, str]] = []
    policy = given.get("propagationPolicy")
    orphan = given.get("orphanDependents")
    if policy is not None and orphan is not None:
        message = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(("propagationPolicy", "FieldValueInvalid", message))
    elif policy is not None and policy not in _POLICIES:
        allowed = ", ".join(f'"{each}"' for each in (*_POLICIES, "nil"))
        message = f'Unsupported value: "{policy}": supported values: {allowed}'
        causes.append(("propagationPolicy", "FieldValueNotSupported", message))
    dry_run = given.get("dryRun") or []
    if any(each != "All" for each in dry_run):
        message = f'Unsupported value: {json.dumps(dry_run)}: supported values: "All"'
        causes.append(("dryRun", "FieldValueNotSupported", message))
    if causes:
        raise invalid(META, "DeleteOptions", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    grace = given.get("gracePeriodSeconds")
    if grace is not None and grace < 0:
        grace = 1
    conditions = given.get("preconditions") or {}
    found = DeleteOptions(grace, policy, conditions.get("uid"), conditions.get("resourceVersion"))
    return found, bool(dry_run)


def _options_body(call: Call) -> Obj:
    ref = KindRef(META, "v1", "DeleteOptions")
    value = bodies.read_value(call.target, ref, call.body, call.content_type, options=True)
    if isinstance(value, dict) and value.get("kind") not in (None, "", "DeleteOptions"):
        version = value.get("apiVersion") or ""
        raise bad_request(
            f'no kind "{value["kind"]}" is registered for version "{version}" in scheme {SCHEME}'
        )
    if not isinstance(value, dict):
        raise bad_request("json: cannot unmarshal into Go value of type v1.DeleteOptions")
    types = {
        "gracePeriodSeconds": (int, "int64"),
        "propagationPolicy": (str, "v1.DeletionPropagation"),
        "orphanDependents": (bool, "bool"),
        "dryRun": (list, "[]string"),
        "preconditions": (dict, "v1.Preconditions"),
    }
    for key, (type_, go) in types.items():
        found = value.get(key)
        wrong = found is not None and (
            not isinstance(found, type_) or (type_ is int and isinstance(found, bool))
        )
        if wrong:
            shown = schema.json_type(found)
            raise bad_request(
                f"json: cannot unmarshal {shown} into Go struct field DeleteOptions.{key} of type {go}"
            )
    return value


def _options_query(query: Query) -> Obj:
    given: Obj = {}
    if (grace := query.number("gracePeriodSeconds")) is not None:
        given["gracePeriodSeconds"] = grace
    if policy := query.text("propagationPolicy"):
        given["propagationPolicy"] = policy
    if query.all("orphanDependents"):
        given["orphanDependents"] = query.flag("orphanDependents")
    given["dryRun"] = query.all("dryRun")
    return given
