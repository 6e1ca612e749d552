"""The objects that every cluster has from the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from meshlib.lab import schema
from meshlib.lab.schema.explain import component_name, components

from .codec import encode, stored
from .kind_table import KINDS
from .kinds import Kind
from .rbac import READ
from .registry import Registry
from .store import Obj
from .strategy import now, prepare_create
from .writes import Write

MANAGER = "kube-apiserver"
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
RBAC = "rbac.authorization.k8s.io"
PRIORITIES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
_CHANGE = ["create", "delete", "deletecollection", "patch", "update"]
_DEFAULTING = {"rbac.authorization.kubernetes.io/autoupdate": "true"}


async def bootstrap(registry: Registry) -> None:
    """Create what is missing: namespaces, roles, priority classes, and the definitions of Istio's kinds."""
    for name in NAMESPACES:
        await _ensure(registry, "namespaces", {"metadata": {"name": name}})
    for name, value in PRIORITIES.items():
        obj = {"metadata": {"name": name}, "value": value, "description": "Used for system critical pods."}
        await _ensure(registry, "priorityclasses.scheduling.k8s.io", obj)
    for role in cluster_roles():
        await _ensure(registry, f"clusterroles.{RBAC}", role)
    await _ensure(registry, f"clusterrolebindings.{RBAC}", masters_binding())
    for kind in KINDS:
        if kind.custom and registry.find(CRDS, None, kind.resource) is None:
            _define(registry, kind)


def cluster_roles() -> Iterator[Obj]:
    """cluster-admin, and the three roles that users bind: admin, edit and view."""
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    yield _role("cluster-admin", everything)
    groups: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind.namespaced and not kind.virtual and kind.group != RBAC and kind.plural != "secrets":
            parts = [f"{kind.plural}/{part.name}" for part in kind.subresources if part.name in _SEEN]
            groups.setdefault(kind.group, []).extend([kind.plural, *parts])
    seen = [{"apiGroups": [group], "resources": found, "verbs": READ} for group, found in groups.items()]
    changed = [{**each, "resources": _written(each["resources"]), "verbs": _CHANGE} for each in seen]
    changed = [each for each in changed if each["resources"]]
    secrets = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": [*READ, *_CHANGE]},
        {
            "apiGroups": [""],
            "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
            "verbs": ["get", *_CHANGE],
        },
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
    ]
    roles = [{"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": [*READ, *_CHANGE]}]
    namespaces = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": READ}]
    yield _role("view", [*seen, *namespaces])
    yield _role("edit", [*seen, *namespaces, *changed, *secrets])
    yield _role("admin", [*seen, *namespaces, *changed, *secrets, *roles])


_SEEN = ("log", "scale", "status")
_LOOK_PARTS = ("/log", "/status")
# Who writes endpoints sends other people's traffic, and the API server's proxy, where he likes.
_LOOK = ("controllerrevisions", "endpoints", "endpointslices", "events", "limitranges", "resourcequotas")


def _written(resources: list[str]) -> list[str]:
    return [each for each in resources if each not in _LOOK and not each.endswith(_LOOK_PARTS)]


def masters_binding() -> Obj:
    """What gives the admin certificate all rights."""
    return {
        **_role("cluster-admin", None),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "system:masters"}],
    }


def definition(kind: Kind, shown: Any) -> Obj:
    """The CustomResourceDefinition of a kind of the table; `shown` is the schema of all its versions."""
    names: Obj = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.singular,
        "categories": list(kind.categories),
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    return {
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [_version(kind, each, shown) for each in kind.versions],
        },
    }


def _version(kind: Kind, version: str, shown: Any) -> Obj:
    columns = [
        {"name": each.name, "type": each.type, "jsonPath": each.path}
        | ({"description": each.description} if each.description else {})
        for each in kind.columns
    ]
    return {
        "name": version,
        "served": True,
        "storage": version == kind.version,
        "schema": {"openAPIV3Schema": shown},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }


def _shown_schema(kind: Kind) -> Obj:
    """The schema of a kind as its definition shows it; the same for all versions."""
    made = components([kind.ref])[component_name(kind.ref) or ""]
    shown: Obj = {key: made[key] for key in ("type", "properties", "required") if key in made}
    shown["properties"] = {**shown["properties"], "metadata": {"type": "object"}}
    return shown


def _define(registry: Registry, kind: Kind) -> None:
    """Store the definition of a kind, with its status, as creating it would.

    The path of all other writes takes 30 ms for each of these trees.  They come from the table and need no
    validation, and nobody owns anything inside of them, so what is added to an object is added to one with an
    empty schema.
    """
    crd, stamp = registry.kinds.resource(CRDS), now()
    made = definition(kind, {})
    made.update(apiVersion=crd.api_version, kind=crd.kind)
    schema.default(crd.ref, made)
    prepare_create(crd, made)
    schema.track(crd.ref, None, made, manager=MANAGER, operation="Update", now=stamp)
    before = {**made, "metadata": {**made["metadata"]}}
    made["status"] = accepted(kind, made["spec"]["names"], stamp)
    schema.track(crd.ref, before, made, manager=MANAGER, operation="Update", now=stamp, subresource="status")
    shown = msgspec.Raw(encode(_shown_schema(kind)))
    for version in made["spec"]["versions"]:
        version["schema"] = {"openAPIV3Schema": shown}
    registry.store.put(crd.stored, kind.resource, stored(made), expect=0)


def accepted(kind: Kind, names: Obj, stamp: str) -> Obj:
    """The status of a definition whose kind is served."""
    reasons = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    conditions = [
        {
            "type": type_,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": stamp,
        }
        for type_, reason, message in reasons
    ]
    return {"acceptedNames": names, "storedVersions": [kind.version], "conditions": conditions}


def _role(name: str, rules: list[Obj] | None) -> Obj:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    metadata = {"name": name, "annotations": _DEFAULTING, "labels": labels}
    return {"metadata": metadata} if rules is None else {"metadata": metadata, "rules": rules}


async def _ensure(registry: Registry, resource: str, obj: Obj) -> None:
    if registry.find(resource, None, obj["metadata"]["name"]) is None:
        kind = registry.kinds.resource(resource)
        await registry.writer.create(kind, None, obj, Write(MANAGER, system=True))
