"""The objects that the translator reads, with the indexes it needs and a count of changes for every kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar, cast

from meshlib.lab.istiod.minors import DEFAULT
from meshlib.lab.istiod.translate.model import Obj

T = TypeVar("T")

#: Every kind that is read, with the API group it is read from ("" is the core group).
READS: dict[str, str] = {
    "Pod": "",
    "Service": "",
    "ConfigMap": "",
    "Secret": "",
    "EndpointSlice": "discovery.k8s.io",
    "Gateway": "networking.istio.io",
    "VirtualService": "networking.istio.io",
    "DestinationRule": "networking.istio.io",
    "ServiceEntry": "networking.istio.io",
    "WorkloadEntry": "networking.istio.io",
    "PeerAuthentication": "security.istio.io",
    "RequestAuthentication": "security.istio.io",
    "AuthorizationPolicy": "security.istio.io",
    "Telemetry": "telemetry.istio.io",
}

#: Metadata that changes without any meaning for traffic.
_NOISE = frozenset({"resourceVersion", "managedFields", "generation", "uid", "selfLink"})


def _key(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _meaning(obj: Obj) -> Obj:
    """What of an object can change traffic: without bookkeeping and, but for Pods and Services, status."""
    kept = {name: value for name, value in obj.items() if name != "metadata"}
    kept["metadata"] = {name: value for name, value in obj["metadata"].items() if name not in _NOISE}
    if obj["kind"] not in ("Pod", "Service"):
        kept.pop("status", None)
    if obj["kind"] == "Pod":
        # A new pod may have the name and the address of one that is gone.
        kept["metadata"]["uid"] = obj["metadata"].get("uid")
        status = obj.get("status", {})
        kept["status"] = {name: status.get(name) for name in ("podIP", "hostIP", "phase")}
    return kept


class World:
    """A set of API objects (plain dictionaries) as `put` and `remove` left it.

    domain: the cluster's DNS domain; root_namespace: where mesh-wide objects live
    default_minor: the minor of a proxy whose image has no tag
    trace_sampling: percent of requests that are traced where nothing says (istiod's PILOT_TRACE_SAMPLING)
    bindable: whether a port number may be bound where the proxies run; a port of a Service that may not
    be
        bound is served only under the number that the Service's `lab.meshlib.dev/ports` annotation gives.
    """

    def __init__(
        self,
        *,
        domain: str = "cluster.local",
        root_namespace: str = "istio-system",
        default_minor: int = DEFAULT,
        trace_sampling: float = 1.0,
        bindable: Callable[[int], bool] = lambda port: True,
    ) -> None:
        self.domain = domain
        self.root_namespace = root_namespace
        self.default_minor = default_minor
        self.trace_sampling = trace_sampling
        self.bindable = bindable
        self._objects: dict[str, dict[tuple[str, str], Obj]] = {kind: {} for kind in READS}
        self._generations: dict[str, int] = dict.fromkeys(READS, 0)
        self._slices: dict[tuple[str, str], dict[str, Obj]] = defaultdict(dict)
        self._memo: dict[Hashable, tuple[tuple[object, ...], object]] = {}

    def put(self, obj: Obj) -> bool:
        """Adds or replaces an object; False where nothing that matters for traffic changed."""
        kind = obj["kind"]
        if not self._read(obj):
            return False
        key = _key(obj)
        old = self._objects[kind].get(key)
        if old is not None and _meaning(old) == _meaning(obj):
            return False
        self._forget(kind, key)
        self._objects[kind][key] = obj
        if kind == "EndpointSlice":
            self._slices[_slice_key(obj)][key[1]] = obj
        self._generations[kind] += 1
        return True

    def remove(self, obj: Obj) -> bool:
        """Takes an object out; only its kind, namespace and name are read.  False if it was not there."""
        if not self._read(obj) or _key(obj) not in self._objects[obj["kind"]]:
            return False
        self._forget(obj["kind"], _key(obj))
        self._generations[obj["kind"]] += 1
        return True

    def _read(self, obj: Obj) -> bool:
        group = obj.get("apiVersion", "").rpartition("/")[0]
        return bool(READS.get(obj["kind"]) == group)

    def _forget(self, kind: str, key: tuple[str, str]) -> None:
        old = self._objects[kind].pop(key, None)
        if old is not None and kind == "EndpointSlice":
            self._slices[_slice_key(old)].pop(key[1], None)

    def get(self, kind: str, namespace: str, name: str) -> Obj | None:
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Obj]:
        """All objects of a kind, oldest first; of one age by `name.namespace` (as istiod orders them)."""
        return self.memo(("all", kind), (kind,), lambda: sorted(self._objects[kind].values(), key=_age))

    def slices(self, namespace: str, service: str) -> list[Obj]:
        """The EndpointSlices of a Service, by name."""
        found = self._slices.get((namespace, service), {})
        return [found[name] for name in sorted(found)]

    def generation(self, *kinds: str) -> tuple[int, ...]:
        """A value that differs after any change of an object of these kinds."""
        return tuple(self._generations[kind] for kind in kinds)

    def memo(self, key: Hashable, kinds: Iterable[str], build: Callable[[], T], *also: object) -> T:
        """`build()`, remembered under `key` until an object of `kinds` or a value of `also` changes."""
        seen = (*self.generation(*kinds), *also)
        kept = self._memo.get(key)
        if kept is not None and kept[0] == seen:
            return cast(T, kept[1])
        value = build()
        self._memo[key] = (seen, value)
        return value

    def keep(self, key: Hashable, value: T) -> T:
        """The value that was kept under `key` if it equals this one, so that what did not change stays
        the same object.
        """
        kept = self._memo.get(key)
        if kept is not None and (kept[1] is value or kept[1] == value):
            return kept[1]
        self._memo[key] = ((), value)
        return value

    def forget(self, kept: Callable[[Hashable], bool]) -> None:
        """Drops what is remembered under keys that are no longer wanted."""
        self._memo = {key: value for key, value in self._memo.items() if kept(key)}


def _slice_key(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta.get("labels", {}).get("kubernetes.io/service-name", "")


def _age(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("creationTimestamp") or "", f"{meta['name']}.{meta.get('namespace', '')}"
