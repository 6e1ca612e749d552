"""The metadata of every object: on a create and on an update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import findings as say
from . import names
from .model import Finding, KindRef, Obj

MAX_ANNOTATIONS_B = 256 * 1024
IMMUTABLE = "field is immutable"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_NAMES: dict[str, names.Check] = {
    "Namespace": names.dns_label,
    "Service": names.dns_label,
    "Role": names.path_segment,
    "RoleBinding": names.path_segment,
    "ClusterRole": names.path_segment,
    "ClusterRoleBinding": names.path_segment,
}
"""The form of a kind's names where it is not that of a DNS subdomain."""


def name_check(kind: KindRef) -> names.Check:
    """What tells whether a name is one for this kind."""
    builtin = "istio.io" not in kind.group
    return _NAMES.get(kind.kind, names.dns_subdomain) if builtin else names.dns_subdomain


def validate_meta(kind: KindRef, meta: Obj) -> Iterator[Finding]:
    """Findings on the metadata of a new object, whose name has already been made from `generateName`."""
    check = name_check(kind)
    generate = meta.get("generateName") or ""
    if generate:
        masked = f"{generate[:-2]}a" if len(generate) > 1 and generate.endswith("-") else generate
        yield from (say.invalid("metadata.generateName", generate, each) for each in check(masked))
    name = meta.get("name") or ""
    if not name:
        yield say.required("metadata.name", "name or generateName is required")
    yield from (say.invalid("metadata.name", name, each) for each in (check(name) if name else ()))
    namespace = meta.get("namespace") or ""
    if namespace:
        yield from (say.invalid("metadata.namespace", namespace, each) for each in names.dns_label(namespace))
    yield from _common(meta)
    yield from _finalizers(meta)
    if not kind.group:
        for index, each in enumerate(meta.get("finalizers") or ()):
            if "/" not in each and each not in _STANDARD_FINALIZERS:
                detail = "name is neither a standard finalizer name nor is it fully qualified"
                yield say.invalid(f"metadata.finalizers[{index}]", each, detail)


def validate_meta_update(meta: Obj, old: Obj) -> Iterator[Finding]:
    """Findings on the metadata of an object that replaces another."""
    if old.get("deletionTimestamp") is not None:
        extra = sorted(set(meta.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if extra:
            listed = ", ".join(say.shown(each) for each in extra)
            yield say.forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}",
            )
    for field in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        new, before = meta.get(field), old.get(field)
        if new != before and not (not new and not before):
            yield say.invalid(f"metadata.{field}", "" if new is None else new, IMMUTABLE)
    yield from _common(meta)


def _common(meta: Obj) -> Iterator[Finding]:
    yield from validate_labels(meta.get("labels") or {}, "metadata.labels")
    annotations = meta.get("annotations") or {}
    for key in annotations:
        yield from (
            say.invalid("metadata.annotations", key, each) for each in names.qualified_name(key.lower())
        )
    if (
        sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
        > MAX_ANNOTATIONS_B
    ):
        yield say.too_long("metadata.annotations", MAX_ANNOTATIONS_B)
    yield from _owners(meta.get("ownerReferences") or ())


def validate_labels(labels: Mapping[str, Any], path: str) -> Iterator[Finding]:
    for key, value in labels.items():
        yield from (say.invalid(path, key, each) for each in names.qualified_name(key))
        yield from (say.invalid(path, value, each) for each in names.label_value(value or ""))


def _owners(owners: Any) -> Iterator[Finding]:
    first = ""
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                what = "version must not be empty" if field == "apiVersion" else "must not be empty"
                yield say.invalid(f"metadata.ownerReferences.{field}", "", what)
        if owner.get("controller"):
            this = f"{owner.get('kind')}/{owner.get('name')}"
            if first:
                detail = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {first} and {this}'
                )
                yield say.invalid("metadata.ownerReferences", owners, detail)
            else:
                first = this


def _finalizers(meta: Obj) -> Iterator[Finding]:
    finalizers = meta.get("finalizers") or []
    for each in finalizers:
        yield from (say.invalid("metadata.finalizers", each, text) for text in names.qualified_name(each))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        yield say.invalid("metadata.finalizers", finalizers, detail)
