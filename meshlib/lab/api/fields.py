"""Which fields can be selected on, kind by kind, and the words in which a real server refuses the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import bad_request
from .kinds import Kind
from .selectors import FieldTerm, parse_fields
from .store import Obj

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

# Beyond metadata.name and metadata.namespace; from the field label conversions of the built-in groups.
SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "events": (
        *(f"involvedObject.{each}" for each in _INVOLVED),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "events.events.k8s.io": (
        *(f"regarding.{each}" for each in _INVOLVED),
        "reason",
        "reportingController",
        "type",
    ),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicationcontrollers": ("status.replicas",),
    "replicasets.apps": ("status.replicas",),
    "statefulsets.apps": ("status.successful",),
    "jobs.batch": ("status.successful",),
}
_DEFAULTS = {"spec.hostNetwork": "false", "spec.unschedulable": "false", "status.replicas": "0"}


def parse_for(kind: Kind, text: str) -> list[FieldTerm]:
    """The terms of a field selector on `kind`; raises StatusError 400 for fields that are not selectable."""
    terms = parse_fields(text)
    special = SELECTABLE.get(kind.resource)
    for term in terms:
        known = ("metadata.name", "metadata.namespace") if kind.namespaced else ("metadata.name",)
        if kind.custom or special is not None:
            if term.field not in (*known, *(special or ())):
                if kind.resource == "jobs.batch":
                    raise bad_request(f'field label "{term.field}" not supported for Job')
                raise bad_request(f"field label not supported: {term.field}")
        elif term.field not in ("metadata.name", "metadata.namespace"):
            raise bad_request(
                f'"{term.field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
    return terms


def holds(terms: list[FieldTerm], obj: Obj) -> bool:
    return all((_value(obj, term.field) == term.value) is not term.negated for term in terms)


def _value(obj: Obj, path: str) -> str:
    if path == "source":
        return str((obj.get("source") or {}).get("component", obj.get("reportingComponent", "")))
    if path == "status.podIPs":
        path = "status.podIP"
    part: Any = obj
    for key in path.split("."):
        part = part.get(key) if isinstance(part, dict) else None
    if part is None:
        return _DEFAULTS.get(path, "")
    return str(part).lower() if isinstance(part, bool) else str(part)
