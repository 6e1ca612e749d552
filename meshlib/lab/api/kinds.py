"""Kinds: what a row of the table says, and how a kind is found by resource name or by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from meshlib.lab.schema import KindRef

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS = ("get", "patch", "update")
STORED_AS = {"events.events.k8s.io": "events"}


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object with a path of its own; `kind` is what its bodies are, empty for the parent's."""

    name: str
    verbs: tuple[str, ...] = STATUS_VERBS
    kind: str = ""
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of a custom resource; `path` is a JSONPath as CRDs write it."""

    name: str
    type: str
    path: str
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One row: a kind, its resource and how it behaves.

    `versions` are the served ones, preferred first; the preferred one is stored.  `generation` says that a
    changed spec counts `metadata.generation` up; `delete_object` that DELETE answers with the object instead
    of a `Status`; `put_creates` that PUT may create;
    `put_needs_version` that PUT must carry a resourceVersion.  `virtual` kinds are answered and never stored.
    `refusal`, where set, is why the lab does not let anyone create objects of the kind.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    custom: bool = False
    generation: bool = False
    delete_object: bool = False
    put_creates: bool = False
    put_needs_version: bool = False
    virtual: bool = False
    refusal: str = ""
    columns: tuple[Column, ...] = ()

    @property
    def resource(self) -> str:
        """`plural.group`, the name that the registry and the store use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> str:
        """The resource whose objects these are: events have two groups and one storage."""
        return STORED_AS.get(self.resource, self.resource)

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def version(self) -> str:
        return self.versions[0]

    @property
    def api_version(self) -> str:
        return self.ref.api_version

    @property
    def ref(self) -> KindRef:
        return self.at(self.version)

    def at(self, version: str) -> KindRef:
        return KindRef(self.group, version, self.kind)

    def subresource(self, name: str) -> Subresource | None:
        return next((each for each in self.subresources if each.name == name), None)

    @property
    def has_status(self) -> bool:
        return self.subresource("status") is not None


# The order in which a real server lists its groups; groups of custom resources follow.
GROUP_ORDER = (
    "",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "apps",
)


@dataclass(slots=True)
class Catalogue:
    """All kinds, found by resource name or by path."""

    kinds: tuple[Kind, ...]
    _by_resource: dict[str, Kind] = field(init=False)
    _by_path: dict[tuple[str, str, str], Kind] = field(init=False)

    def __post_init__(self) -> None:
        self._by_resource = {each.resource: each for each in self.kinds}
        self._by_path = {
            (each.group, version, each.plural): each for each in self.kinds for version in each.versions
        }

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds)

    def resource(self, resource: str) -> Kind:
        """The kind of a `plural.group`; KeyError for a name that is not in the table."""
        return self._by_resource[resource]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_path.get((group, version, plural))

    def of_kind(self, group: str, kind: str) -> Kind | None:
        return next((each for each in self.kinds if each.group == group and each.kind == kind), None)

    def groups(self) -> list[str]:
        """All groups, in the order of a real server's `/apis`, core first."""
        present = {each.group for each in self.kinds}
        return [each for each in GROUP_ORDER if each in present] + sorted(present - set(GROUP_ORDER))

    def versions(self, group: str) -> list[str]:
        """The versions of a group that serve at least one kind, preferred first."""
        found = {version for each in self.kinds if each.group == group for version in each.versions}
        return sorted(found, key=version_rank, reverse=True)


def version_rank(version: str) -> tuple[int, int, int]:
    """Kubernetes' order of versions: stable before beta before alpha, higher numbers first."""
    for stage, word in ((1, "beta"), (0, "alpha")):
        major, found, minor = version.removeprefix("v").partition(word)
        if found:
            return (stage, int(major), int(minor))
    return (2, int(version.removeprefix("v")), 0)
