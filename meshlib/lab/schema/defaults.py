"""The defaults that a user sees in `-o yaml`."""

from __future__ import annotations

from .model import KindRef, Obj


def default(kind: KindRef, obj: Obj) -> None:
    """Fill in, in place, what the API server fills in."""
    if kind.kind == "Secret":
        obj.setdefault("type", "Opaque")
