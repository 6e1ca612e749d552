"""Volumes: what files a volume holds (pure), and writing them so that a reader never sees a half-changed
set.
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlib.lab.kubelet.environment import ConfigProblem, Lookup, field_value, resource_value

Obj = dict[str, Any]
SUPPORTED = ("configMap", "secret", "emptyDir", "projected", "downwardAPI", "hostPath")


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int


Files = dict[str, File]  # path below the volume → its file


class MountProblem(Exception):
    """A volume cannot be set up; the pod waits and an event FailedMount says why."""


def contents(
    pod: Obj, volume: Obj, lookup: Lookup, tokens: Mapping[str, str], capacity: Mapping[str, str]
) -> Files:
    """The files of a volume that is made from objects.

    `tokens` maps an audience ("" for the API server's own) to a ServiceAccount token.  Raises
    `MountProblem` where an object or a key is missing and not optional.
    """
    for kind in ("configMap", "secret", "downwardAPI"):
        if kind in volume:
            source = volume[kind] or {}
            return _source(pod, kind, source, lookup, capacity, source.get("defaultMode", 0o644))
    if "projected" in volume:
        projected = volume["projected"] or {}
        mode = projected.get("defaultMode", 0o644)
        files: Files = {}
        for source in projected.get("sources") or []:
            for kind, part in source.items():
                if kind == "serviceAccountToken":
                    token = tokens[part.get("audience", "")]
                    files[part["path"]] = File(token.encode(), 0o600)
                else:
                    files.update(_source(pod, kind, part, lookup, capacity, mode))
        return files
    return {}


def _source(
    pod: Obj, kind: str, source: Obj, lookup: Lookup, capacity: Mapping[str, str], mode: int
) -> Files:
    if kind == "downwardAPI":
        return {item["path"]: _downward(pod, item, capacity, mode) for item in source.get("items") or []}
    if kind not in ("configMap", "secret"):
        raise MountProblem(f"a projected source of kind {kind} is not supported by the embedded lab")
    name = source.get("secretName") or source.get("name", "")
    resource = "configmaps" if kind == "configMap" else "secrets"
    found = lookup(resource, name)
    if found is None:
        if source.get("optional"):
            return {}
        raise MountProblem(f'{resource[:-1]} "{name}" not found')
    data = _bytes(found, resource)
    if kind == "secret":
        mode &= 0o700  # a key file is the owner's only, whatever the default mode: there is one user here
    items = source.get("items")
    if items is None:
        return {key: File(value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise MountProblem(f"references non-existent {resource[:-1]} key: {item['key']}")
    return files


def _downward(pod: Obj, item: Obj, capacity: Mapping[str, str], mode: int) -> File:
    try:
        if field := item.get("fieldRef"):
            text = field_value(pod, field["fieldPath"])
        else:
            text = resource_value(pod, {}, item["resourceFieldRef"], capacity)
    except ConfigProblem as problem:
        raise MountProblem(str(problem)) from problem
    return File(text.encode(), item.get("mode", mode))


def _bytes(obj: Obj, resource: str) -> dict[str, bytes]:
    if resource == "secrets":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def write(folder: Path, files: Files) -> bool:
    """Make `folder` show exactly `files`; whether anything changed.

    As in Kubernetes: a new folder `..<time>` is filled, the link `..data` is renamed onto it, and each top-
    level name is a link into `..data`.  Raises `MountProblem` for a path that leads out of the volume, before
    anything is written, and where the disk refuses.
    """
    for path in files:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise MountProblem(f"the path {path} leads out of the volume")
    try:
        return _written(folder, files)
    except OSError as error:
        raise MountProblem(f"cannot be written: {error.strerror or error}") from error


def _written(folder: Path, files: Files) -> bool:
    data = folder / "..data"
    if data.exists() and _read(data) == {path: file.content for path, file in files.items()}:
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{time.time_ns() % 10**9:09d}"
    fresh.mkdir(mode=0o700)
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT, file.mode & 0o777)
        with os.fdopen(descriptor, "wb") as out:
            out.write(file.content)
    before = data.resolve() if data.is_symlink() else None
    swap = folder / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(data)
    tops = {path.split("/", 1)[0] for path in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if before is not None:
        shutil.rmtree(before)
    return True


def _read(data: Path) -> dict[str, bytes]:
    root = data.resolve()
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def prepare(pod: Obj, volume: Obj, folder: Path, files: Files) -> Path:
    """The folder of a volume, filled; raises `MountProblem` for a type that the lab does not have."""
    kind = next((key for key in volume if key != "name"), "emptyDir")
    if kind not in SUPPORTED:
        raise MountProblem(f"volumes of type {kind} are not supported by the embedded lab")
    if kind == "hostPath":
        return Path(volume["hostPath"]["path"])
    if kind == "emptyDir":
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        write(folder, files)
    return folder


def mounts(container: Obj, folders: Mapping[str, Path]) -> dict[str, str]:
    """mountPath → folder (or file, with subPath) of every volume mount of a container."""
    result = {}
    for mount in container.get("volumeMounts") or []:
        folder = folders[mount["name"]]
        result[mount["mountPath"]] = str(folder / mount["subPath"] if mount.get("subPath") else folder)
    return result
