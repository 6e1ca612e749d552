"""Writes one proxy's resources as the files that its Envoy watches: only what changed, without gaps.

Endpoints go inline into their clusters: each file that Envoy watches costs an inotify instance, of which a
user has 128 by default on Linux (fs.inotify.max_user_instances), and Envoy aborts when there is none left.

Envoy refuses a reference to a file that is not there and answers 503 for a route to a cluster that is gone.
So secrets come first, then clusters, routes and listeners; clusters and files that are no
longer wanted stay until `sweep`, when Envoy has read the rest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from meshlib.lab.istiod.files import file_name

Obj = Mapping[str, Any]

TYPES: Final[Mapping[str, str]] = {
    "lds": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "cds": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "rds": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "sds": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}
"""The xDS types that are delivered, in istioctl's short names."""


@dataclass
class Wanted:
    """All that a proxy is to have: resource name → proto JSON without `@type`; `eds` by cluster name.

    A secret of None is one that is referenced but cannot be had: its file holds no resource.
    """

    lds: Mapping[str, Obj] = field(default_factory=dict)
    cds: Mapping[str, Obj] = field(default_factory=dict)
    rds: Mapping[str, Obj] = field(default_factory=dict)
    eds: Mapping[str, Obj] = field(default_factory=dict)
    sds: Mapping[str, Obj | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Encoded:
    sources: tuple[Obj | None, ...]
    body: bytes


class Delivery:
    """The folder of one proxy: what is in it, in which version, and how to bring it up to date."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: dict[str, dict[str, str]] = {kind: {} for kind in TYPES}
        """xDS type → resource name → version written; `lds` and `cds` have one name, the empty one."""
        self._encoded: dict[tuple[str, str], _Encoded] = {}
        self._written: dict[Path, bytes] = {}
        self._lingering: dict[str, bytes] = {}
        self._unwanted: set[tuple[str, str]] = set()
        self._clusters: dict[str, bytes] = {}
        self._swept = False

    def push(self, wanted: Wanted, version: str) -> list[str]:
        """Write what differs, as `version`, and say which types were written; OSError when it cannot."""
        if not (self.folder / "lds.json").exists():
            self._written = {}
        changed = self._push_each("sds", wanted.sds, version)
        clusters = {name: self._cluster(name, obj, wanted.eds.get(name)) for name, obj in wanted.cds.items()}
        self._lingering = {
            n: b for n, b in {**self._clusters, **self._lingering}.items() if n not in clusters
        }
        self._clusters = clusters
        if self._push_set("cds", {**clusters, **self._lingering}.values(), version):
            changed.append("cds")
        changed += self._push_each("rds", wanted.rds, version)
        listeners = [self._encode("lds", name, obj) for name, obj in wanted.lds.items()]
        if self._push_set("lds", listeners, version):
            changed.append("lds")
        live = {(kind, n) for kind, names in self._wanted_names(wanted) for n in names}
        self._unwanted = {key for key in self._encoded if key not in live}
        return changed

    def sweep(self, version: str) -> bool:
        """Drop what the last push no longer wanted; True when something was dropped."""
        if self._swept and not self._lingering and not self._unwanted:
            return False
        self._swept = True
        if self._lingering:
            self._lingering = {}
            self._push_set("cds", self._clusters.values(), version)
        for kind, name in self._unwanted:
            self._encoded.pop((kind, name), None)
            self.versions[kind].pop(name, None)
            self._written.pop(self.folder / kind / file_name(name), None)
        self._unwanted = set()
        self._delete_strangers()
        return True

    def remove(self) -> None:
        """Delete the files of a proxy that is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _delete_strangers(self) -> None:
        """Delete resource files that nothing refers to, those of an istiod before this one included."""
        for kind in ("rds", "sds"):
            for path in (self.folder / kind).glob("*.json"):
                if path not in self._written:
                    path.unlink(missing_ok=True)

    @staticmethod
    def _wanted_names(wanted: Wanted) -> Iterable[tuple[str, Iterable[str]]]:
        return (
            ("lds", wanted.lds),
            ("cds", wanted.cds),
            ("rds", wanted.rds),
            ("sds", wanted.sds),
        )

    def _push_each(self, kind: str, resources: Mapping[str, Obj | None], version: str) -> list[str]:
        changed = False
        for name, resource in resources.items():
            path = self.folder / kind / file_name(name)
            before = self._encoded.get((kind, name))
            if before is not None and _same(before.sources, (resource,)) and path in self._written:
                continue
            bodies = [] if resource is None else [self._encode(kind, name, resource)]
            if resource is None:
                self._encoded[kind, name] = _Encoded((None,), b"")
            if self._write(path, bodies, version):
                self.versions[kind][name] = version
                changed = True
        return [kind] if changed else []

    def _push_set(self, kind: str, bodies: Iterable[bytes], version: str) -> bool:
        if not self._write(self.folder / f"{kind}.json", bodies, version):
            return False
        self.versions[kind][""] = version
        return True

    def _cluster(self, name: str, cluster: Obj, assignment: Obj | None) -> bytes:
        """A cluster with its endpoints inside; one that takes them from elsewhere as it is."""
        if cluster.get("type") != "EDS" or assignment is None:
            return self._encode("cds", name, cluster)
        inline = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
        inline |= {"type": "STATIC", "load_assignment": assignment}
        return self._encode("cds", name, inline, cluster, assignment)

    def _encode(self, kind: str, name: str, resource: Obj, *made_of: Obj) -> bytes:
        """The resource's JSON; what is made of the very objects of last time is not encoded again."""
        sources = made_of or (resource,)
        before = self._encoded.get((kind, name))
        if before is not None and _same(before.sources, sources):
            return before.body
        body = msgspec.json.encode({"@type": TYPES[kind], **resource})
        self._encoded[kind, name] = _Encoded(sources, body)
        return body

    def _write(self, path: Path, bodies: Iterable[bytes], version: str) -> bool:
        content = b'"resources":[' + b",\n".join(bodies) + b"]}\n"
        if self._written.get(path) == content:
            return False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        # O_EXCL is not wanted: a file left by a killed istiod must not stop its successor.
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(b'{"version_info":' + msgspec.json.encode(version) + b"," + content)
        new.rename(path)
        self._written[path] = content
        return True


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
