"""What the API server checks in a container's environment, and in the fields of the pod that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import findings as say
from . import names
from .model import Finding, Obj

_LABELS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
)
"""The fields of a pod that have a name for the outside."""
_IN_VARIABLES = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)


def validate_environment(container: Obj, path: str) -> Iterator[Finding]:
    """Findings on `env` and `envFrom`."""
    for index, variable in enumerate(container.get("env") or ()):
        source = variable.get("valueFrom")
        if source is not None:
            yield from _source(source, variable.get("value") or "", f"{path}.env[{index}].valueFrom")
    for source in container.get("envFrom") or ():
        chosen = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
        if not chosen:
            yield say.invalid(f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(chosen) > 1:
            yield say.invalid(f"{path}.envFrom", "", "may not have more than one field specified at a time")


def _source(source: Obj, value: str, path: str) -> Iterator[Finding]:
    chosen = [key for key, each in source.items() if each is not None]
    if "fieldRef" in chosen:
        yield from _field(source["fieldRef"], f"{path}.fieldRef")
    if not chosen:
        sources = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield say.invalid(path, "", f"must specify one of: {sources}")
    elif value:
        yield say.invalid(path, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield say.invalid(path, "", "may not have more than one field specified at a time")


def _field(reference: Obj, path: str) -> Iterator[Finding]:
    field = reference.get("fieldPath") or ""
    if not field:
        return
    subscript = re.fullmatch(r"(.*)\['(.*)'\]", field)
    if subscript is None:
        if field not in (*_LABELS, "spec.host"):
            detail = f"error converting fieldPath: field label not supported: {field}"
            yield say.invalid(f"{path}.fieldPath", field, detail)
        elif field not in (*_IN_VARIABLES, "spec.host"):
            yield say.not_supported(f"{path}.fieldPath", field, _IN_VARIABLES)
    elif subscript[1] not in ("metadata.annotations", "metadata.labels"):
        detail = f"error converting fieldPath: field label does not support subscript: {field}"
        yield say.invalid(f"{path}.fieldPath", field, detail)
    else:
        key = subscript[2].lower() if subscript[1].endswith("annotations") else subscript[2]
        yield from (say.invalid(path, key, each) for each in names.qualified_name(key))
