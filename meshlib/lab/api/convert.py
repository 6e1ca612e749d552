"""Between the versions and groups in which the same objects are served.  Pure."""

from __future__ import annotations

from .kinds import Kind
from .store import Obj

EVENTS = "events.events.k8s.io"
_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _RENAMED.items()}


def at_version(kind: Kind, obj: Obj, version: str) -> Obj:
    """A stored object as the version shows it; the same object where nothing differs."""
    if kind.resource == EVENTS:
        renamed = {_RENAMED.get(key, key): value for key, value in obj.items()}
        return {**renamed, "apiVersion": "events.k8s.io/v1", "kind": "Event"}
    ref = kind.at(version)
    if obj.get("apiVersion") == ref.api_version:
        return obj
    return {**obj, "apiVersion": ref.api_version}


def to_stored(kind: Kind, obj: Obj) -> Obj:
    """An object of any served version as it is stored."""
    if kind.resource == EVENTS:
        return {_BACK.get(key, key): value for key, value in obj.items()}
    return obj
