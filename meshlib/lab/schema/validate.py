"""What makes an object invalid: the findings that a 422 answer lists."""

from __future__ import annotations

from .crd import validate_custom
from .meta import validate_meta, validate_meta_update
from .model import Finding, KindRef, Obj
from .tables import builtin, schema


def validate(kind: KindRef, obj: Obj, *, old: Obj | None = None) -> list[Finding]:
    """What makes the object invalid, on a create or, with `old`, on an update; [] when nothing does.

    The object has been decoded (`decode_error` is None), pruned and defaulted.
    """
    meta = obj.get("metadata") or {}
    found = list(
        validate_meta(kind, meta) if old is None else validate_meta_update(meta, old.get("metadata") or {})
    )
    root = schema(kind)
    if root is not None and not builtin(kind):
        return [*found, *validate_custom(root, obj)]
    return found
