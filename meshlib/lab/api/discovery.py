"""What the server serves: the discovery documents, from the table of kinds.  Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from .kind_table import KINDS
from .kinds import Kind, Subresource

Doc = dict[str, Any]
AGGREGATED = "apidiscovery.k8s.io"


def version_document(git_version: str) -> Doc:
    """/version; `git_version` like v1.36.2."""
    major, minor = git_version.removeprefix("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "meshlib-lab",
    }


def api_versions(server_address: str) -> Doc:
    """/api"""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def group(name: str) -> Doc:
    """One entry of /apis; KeyError for a group that is not served."""
    versions = [{"groupVersion": f"{name}/{each}", "version": each} for each in KINDS.versions(name)]
    if not versions or not name:
        raise KeyError(name)
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def group_document(name: str) -> Doc:
    """/apis/<group>"""
    return {"kind": "APIGroup", "apiVersion": "v1", **group(name)}


def group_list() -> Doc:
    """/apis"""
    groups = [group(each) for each in KINDS.groups() if each]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(group_name: str, version: str) -> Doc:
    """/api/v1 or /apis/<group>/<version>; KeyError for one that is not served."""
    resources: list[Doc] = []
    for kind in _kinds(group_name, version):
        own: Doc = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            own["shortNames"] = list(kind.short_names)
        if kind.categories:
            own["categories"] = list(kind.categories)
        if not kind.virtual:
            own["storageVersionHash"] = _hash(kind)
        resources.append(own)
        resources += [_part(kind, part) for part in kind.subresources]
    doc: Doc = {"kind": "APIResourceList"}
    if group_name:
        doc["apiVersion"] = "v1"
    doc["groupVersion"] = f"{group_name}/{version}" if group_name else version
    doc["resources"] = resources
    return doc


def aggregated(*, core: bool, version: str) -> Doc:
    """/api (core) or /apis in the aggregated form that kubectl asks for; `version` is v2 or v2beta1."""
    items = []
    for name in KINDS.groups():
        if (name == "") is not core:
            continue
        versions = [
            {
                "version": each,
                "resources": [_aggregated(kind, each) for kind in _kinds(name, each)],
                "freshness": "Current",
            }
            for each in KINDS.versions(name)
        ]
        metadata: Doc = {"creationTimestamp": None}
        if name:
            metadata["name"] = name
        items.append({"metadata": metadata, "versions": versions})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED}/{version}",
        "metadata": {},
        "items": items,
    }


def wants_aggregated(accept: str) -> str | None:
    """The version of the aggregated form that an Accept header prefers, None for the plain form."""
    for clause in accept.split(","):
        media, *parameters = [part.strip() for part in clause.split(";")]
        given = dict(part.partition("=")[::2] for part in parameters)
        if media != "application/json":
            continue
        if not given.get("as"):
            return None
        if (
            given.get("g") == AGGREGATED
            and given["as"] == "APIGroupDiscoveryList"
            and given.get("v")
            in (
                "v2",
                "v2beta1",
            )
        ):
            return given["v"]
    return None


def paths() -> Doc:
    """/"""
    found = ["/api", "/api/v1", "/apis"]
    for name in KINDS.groups():
        if name:
            found += [f"/apis/{name}", *(f"/apis/{name}/{each}" for each in KINDS.versions(name))]
    found += ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
    return {"paths": found}


def _kinds(group_name: str, version: str) -> list[Kind]:
    found = [kind for kind in KINDS if kind.group == group_name and version in kind.versions]
    if not found:
        raise KeyError(f"{group_name}/{version}")
    return sorted(found, key=lambda kind: kind.plural)


def _part(kind: Kind, part: Subresource) -> Doc:
    doc: Doc = {"name": f"{kind.plural}/{part.name}", "singularName": "", "namespaced": kind.namespaced}
    if part.version:
        doc["group"], doc["version"] = part.group, part.version
    doc["kind"] = part.kind or kind.kind
    doc["verbs"] = list(part.verbs)
    return doc


def _aggregated(kind: Kind, version: str) -> Doc:
    doc: Doc = {
        "resource": kind.plural,
        "responseKind": _response_kind(kind, version),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        doc["shortNames"] = list(kind.short_names)
    if kind.categories:
        doc["categories"] = list(kind.categories)
    if kind.subresources:
        doc["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": {"group": part.group, "version": part.version, "kind": part.kind}
                if part.kind
                else _response_kind(kind, version),
                "verbs": list(part.verbs),
            }
            for part in kind.subresources
        ]
    return doc


def _response_kind(kind: Kind, version: str) -> Doc:
    """Built-in kinds leave their group and version to the document around them."""
    if kind.custom:
        return {"group": kind.group, "version": version, "kind": kind.kind}
    return {"group": "", "version": "", "kind": kind.kind}


def _hash(kind: Kind) -> str:
    digest = hashlib.sha256(f"{kind.group}/{kind.version}/{kind.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def all_group_versions() -> Iterable[tuple[str, str]]:
    """Every (group, version) that is served."""
    return [(name, version) for name in KINDS.groups() for version in KINDS.versions(name)]
