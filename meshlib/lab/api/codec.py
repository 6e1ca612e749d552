"""Between stored bytes, objects with kind and apiVersion, and JSON answers."""

from __future__ import annotations

import msgspec

from .convert import at_version
from .kinds import Kind
from .store import Obj

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def whole(kind: Kind, body: bytes, version: str | None = None) -> Obj:
    """A stored object with its kind and apiVersion."""
    obj: Obj = {"apiVersion": kind.api_version, "kind": kind.kind}
    obj.update(decode(body))
    return at_version(kind, obj, version) if version else obj


def stored(obj: Obj) -> Obj:
    """What is stored of an object; its metadata is shared, so that the new resourceVersion shows in both."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def typed_json(kind: Kind, body: bytes, version: str | None = None) -> bytes:
    """The JSON of a stored object with its kind and apiVersion, without decoding it."""
    ref = kind.at(version or kind.version)
    return b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), ref.api_version.encode()) + body[1:]
