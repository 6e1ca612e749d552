"""What the API server checks in a pod's volumes and mounts: one source each, and paths that stay inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import findings as say
from .model import Finding, Obj


def validate_volume(volume: Obj, path: str) -> Iterator[Finding]:
    """Findings on one volume: its sources, and the paths that its files are to have."""
    sources = [key for key, value in volume.items() if key != "name" and value is not None]
    for extra in sources[1:]:
        yield say.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    yield from _files(volume, path)
    projected = volume.get("projected") or {}
    for index, source in enumerate(projected.get("sources") or ()):
        at = f"{path}.projected.sources[{index}]"
        yield from _files(source, at)
        token = source.get("serviceAccountToken") or {}
        yield from _local(token.get("path"), f"{at}.serviceAccountToken.path")
    host = (volume.get("hostPath") or {}).get("path") or ""
    if ".." in host.split("/"):
        yield say.invalid(f"{path}.hostPath.path", host, "must not contain '..'")


def _files(source: Obj, path: str) -> Iterator[Finding]:
    for kind in ("configMap", "secret", "downwardAPI"):
        for index, item in enumerate((source.get(kind) or {}).get("items") or ()):
            yield from _local(item.get("path"), f"{path}.{kind}.items[{index}].path")


def _local(value: Any, path: str) -> Iterator[Finding]:
    """A path below the volume, none of the names that the kubelet keeps for itself; a missing one is told by
    the rules of its field."""
    text = value or ""
    yield from validate_descending(text, path)
    if text.startswith("..") and text != ".." and not text.startswith("../"):
        yield say.invalid(path, text, "must not start with '..'")


def validate_descending(value: str, path: str) -> Iterator[Finding]:
    """Findings on a path that must lead down from where it starts."""
    if value.startswith("/"):
        yield say.invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield say.invalid(path, value, "must not contain '..'")
