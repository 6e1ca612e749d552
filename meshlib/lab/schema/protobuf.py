"""Bodies of type `application/vnd.kubernetes.protobuf`, which kubectl sends for what it makes itself.

The wire holds field numbers only. Their names come from `go_fields.yaml`, their types from the
OpenAPI definitions, so that any kind that both have can be read.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from . import gofields, openapi
from .gofields import Field
from .model import KindRef, Obj
from .nodes import INT_OR_STRING, META, QUANTITY, Node
from .tables import resolve

MAGIC = b"k8s\x00"
MAX_DEPTH = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProtobufError(ValueError):
    """A body that is no Kubernetes protobuf, is cut short, or is of a kind without field numbers here."""


def protobuf_to_obj(body: bytes) -> Obj:
    """The object of a protobuf body, its `kind` and `apiVersion` set, zero values left out as JSON does."""
    if not body.startswith(MAGIC):
        raise ProtobufError(
            "provided data does not appear to be a protobuf message, expected prefix " + str(MAGIC)
        )
    envelope = dict(_wire(body[len(MAGIC) :]))
    identity = {number: _utf8(value) for number, value in _wire(_bytes(envelope.get(1, b"")))}
    api_version, kind = identity.get(1, ""), identity.get(2, "")
    group, _, version = api_version.rpartition("/")
    name = openapi.definition_name(KindRef(group, version, kind)) or META + kind
    if not gofields.known(name):
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version, **_message(name, _bytes(envelope.get(2, b"")), 0)}


def _message(name: str, data: bytes, depth: int, owner: str = "") -> Obj:
    """A message's fields by their JSON names; `owner` is the definition that has an inline message's
    fields.
    """
    if depth > MAX_DEPTH:
        raise ProtobufError("the protobuf message is nested too deeply")
    if not gofields.known(name):
        raise ProtobufError(f"no field numbers are known for {name}")
    fields = {field.number: field for field in gofields.fields(name)}
    properties = openapi.definition(owner or name).properties or {}
    obj: Obj = {}
    for number, raw in _wire(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.mark == "*":
            obj.update(_message(field.name, _bytes(raw), depth + 1, owner or name))
            continue
        node = properties.get(field.name)
        if node is None:
            continue
        _add(obj, field, node, raw, depth)
    return obj


def _add(obj: Obj, field: Field, node: Node, raw: int | bytes, depth: int) -> None:
    target = resolve(node)
    if target.kind == "array" and not (node.ref and target.items):
        items = target.items or Node()
        packed = isinstance(raw, bytes) and resolve(items).kind in ("integer", "number", "boolean")
        values: list[int | bytes] = list(_varints(_bytes(raw))) if packed else [raw]
        obj.setdefault(field.name, []).extend(_value(items, each, depth) for each in values)
    elif target.kind == "object" and target.values is not None and not target.properties:
        entry = dict(_wire(_bytes(raw)))
        value = entry.get(2, b"")
        obj.setdefault(field.name, {})[_utf8(entry.get(1, b""))] = _value(target.values, value, depth)
    else:
        value_ = _value(node, raw, depth)
        if field.mark in "?!" or value_ not in ("", 0, False, None):
            obj[field.name] = value_


def _value(node: Node, raw: int | bytes, depth: int) -> Any:
    if node.definition == QUANTITY:
        return _utf8(dict(_wire(_bytes(raw))).get(1, b""))
    if node.definition == INT_OR_STRING:
        parts = dict(_wire(_bytes(raw)))
        return _utf8(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))
    target = resolve(node)
    match target.kind:
        case "string" if target.format == "date-time":
            return _time(dict(_wire(_bytes(raw))), micro=node.definition.endswith("MicroTime"))
        case "string" if target.format == "byte":
            return base64.b64encode(_bytes(raw)).decode()
        case "string":
            return _utf8(raw)
        case "integer":
            return _signed(raw)
        case "boolean":
            return bool(raw)
        case "number":
            return struct.unpack("<d", _bytes(raw))[0] if isinstance(raw, bytes) and len(raw) == 8 else raw
        case "array":
            return [_value(target.items or Node(), each, depth) for _, each in _wire(_bytes(raw))]
    return _message(node.definition, _bytes(raw), depth + 1)


def _time(parts: dict[int, int | bytes], *, micro: bool) -> str | None:
    seconds, nanos = _signed(parts.get(1, 0)), _signed(parts.get(2, 0))
    if not seconds and not nanos:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError as error:
        raise ProtobufError(f"a time of {seconds} s is out of range") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _utf8(raw: int | bytes) -> str:
    try:
        return _bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("a text field is not UTF-8") from error


def _bytes(raw: int | bytes) -> bytes:
    if isinstance(raw, bytes):
        return raw
    raise ProtobufError("a field has another wire type than its definition")


def _signed(raw: int | bytes) -> int:
    if isinstance(raw, bytes):
        raise ProtobufError("a field has another wire type than its definition")
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: whole numbers for varints, bytes for all else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                number, at = _varint(data, at)
                yield tag >> 3, number
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(data, at)
            case 5:
                size = 4
            case other:
                raise ProtobufError(f"illegal wireType {other}")
        if at + size > len(data):
            raise ProtobufError("unexpected EOF")
        yield tag >> 3, data[at : at + size]
        at += size


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("unexpected EOF" if at >= len(data) else "integer overflow")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
