"""The one form in which every schema of the lab is held, built-in or Istio's."""

from __future__ import annotations

from typing import Any

import msgspec

REF_PREFIX = "#/$defs/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


class Node(msgspec.Struct, omit_defaults=True):
    """One schema: of a definition, of a field, of a list's items or of a map's values.

    `one_of` (of which at most one field may be set) and `rules` (names of functions in `crd_rules`) are the
    lab's own; the rest are OpenAPI's words. All but the first twelve are only used by Istio's schemas.
    """

    ref: str | None = msgspec.field(default=None, name="$ref")
    type: str | list[str] | None = None
    format: str | None = None
    properties: dict[str, Node] | None = None
    items: Node | None = None
    values: Node | None = msgspec.field(default=None, name="additionalProperties")
    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] = ()
    list_type: str | None = msgspec.field(default=None, name="x-kubernetes-list-type")
    list_keys: tuple[str, ...] = msgspec.field(default=(), name="x-kubernetes-list-map-keys")
    map_type: str | None = msgspec.field(default=None, name="x-kubernetes-map-type")
    patch_strategy: str = msgspec.field(default="", name="x-kubernetes-patch-strategy")
    merge_key: str | None = msgspec.field(default=None, name="x-kubernetes-patch-merge-key")
    open: bool = msgspec.field(default=False, name="x-kubernetes-preserve-unknown-fields")
    nullable: bool = False
    int_or_string: bool = msgspec.field(default=False, name="x-kubernetes-int-or-string")
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = msgspec.field(default=None, name="minLength")
    max_length: int | None = msgspec.field(default=None, name="maxLength")
    min_items: int | None = msgspec.field(default=None, name="minItems")
    max_items: int | None = msgspec.field(default=None, name="maxItems")
    min_properties: int | None = msgspec.field(default=None, name="minProperties")
    max_properties: int | None = msgspec.field(default=None, name="maxProperties")
    pattern: str | None = None
    one_of: tuple[tuple[str, ...], ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """object, array, string, integer, number, boolean, or "" for a schema that takes anything."""
        type_ = self.type
        if isinstance(type_, str):
            return type_
        return next((each for each in type_ if each != "null"), "") if type_ else ""

    @property
    def definition(self) -> str:
        """The full name of the definition that this node refers to, or ""."""
        return self.ref.removeprefix(REF_PREFIX) if self.ref else ""
