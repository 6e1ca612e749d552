"""What makes an object invalid: the findings that a 422 answer lists."""

from __future__ import annotations

from . import openapi
from .builtin import short_name, validate_fields
from .crd import validate_custom
from .decode import decode_error
from .findings import invalid
from .kinds import KIND_CHECKS
from .meta import validate_meta, validate_meta_update
from .model import Finding, KindRef, Obj
from .services import port_order
from .tables import schema


def validate(kind: KindRef, obj: Obj, *, old: Obj | None = None) -> list[Finding]:
    """What makes the object invalid, on a create or, with `old`, on an update; [] when nothing does.

    The object has been pruned and defaulted. One that does not decode has that as its only finding.
    """
    undecoded = decode_error(kind, obj)
    if undecoded is not None:
        return [invalid("", "", undecoded)]
    meta = obj.get("metadata") or {}
    if old is None:
        found = list(validate_meta(kind, meta))
    else:
        found = list(validate_meta_update(meta, old.get("metadata") or {}))
    root = schema(kind)
    if root is None:
        return found
    name = openapi.definition_name(kind)
    if name is None:
        nameless = any(each.reason == "FieldValueRequired" for each in found)
        return [*found, *validate_custom(root, obj, blocked=nameless)]
    found += validate_fields(root, name, obj)
    check = KIND_CHECKS.get(short_name(name))
    if check is not None:
        found += check(obj, old)
    if (kind.group, kind.kind) == ("", "Service"):
        found = port_order(found)
    return list(dict.fromkeys(found))
