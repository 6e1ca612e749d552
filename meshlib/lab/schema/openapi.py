"""The published OpenAPI definitions of Kubernetes, read a definition at a time.

The document ships in the package kubernetes-validate. It stays one byte string in memory; a definition is
decoded when it is first asked for, into nodes that carry only what the lab uses. Descriptions, most of the
document, are read again from the bytes when `kubectl explain` wants them.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import msgspec

from meshlib.errors import LabError

from .model import KindRef
from .nodes import Node

VERSION = "v1.36.0"


class _Document(msgspec.Struct):
    definitions: dict[str, msgspec.Raw] = msgspec.field(name="$defs")


class _Identity(msgspec.Struct):
    kinds: list[dict[str, str]] = msgspec.field(default_factory=list, name="x-kubernetes-group-version-kind")


@cache
def _raw() -> dict[str, msgspec.Raw]:
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise LabError(
            "the package kubernetes-validate is not installed: it carries the Kubernetes schemas",
            fix="pip install -r requirements.txt",
        )
    path = Path(spec.origin).parent / "kubernetes-json-schema" / f"{VERSION}-local" / "_definitions.json"
    return msgspec.json.decode(path.read_bytes(), type=_Document).definitions


def definition_names() -> list[str]:
    """The full names of all definitions, in the order of the document."""
    return list(_raw())


@cache
def definition(name: str) -> Node:
    """The definition of that full name (`io.k8s.api.core.v1.PodSpec`); KeyError when there is none."""
    return msgspec.json.decode(_raw()[name], type=Node)


def described(name: str) -> dict[str, Any]:
    """The definition as published, descriptions included; decoded afresh, not kept."""
    return cast("dict[str, Any]", msgspec.json.decode(_raw()[name]))


@cache
def _names_by_kind() -> dict[KindRef, str]:
    found: dict[KindRef, str] = {}
    for name, raw in _raw().items():
        kinds = msgspec.json.decode(raw, type=_Identity).kinds
        if len(kinds) == 1:
            found[KindRef(kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"])] = name
    return found


def definition_name(kind: KindRef) -> str | None:
    """The full name of the definition of a built-in kind, None for any other."""
    return _names_by_kind().get(kind)
