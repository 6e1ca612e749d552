"""One span as the store takes it, whatever wire it came by, and the JSON that is kept of it (pure)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from math import isfinite
from struct import pack
from typing import TypeAlias
from zlib import crc32

import msgspec

Value: TypeAlias = str | bool | int | float | bytes
Tag: TypeAlias = tuple[str, Value]
Tags: TypeAlias = tuple[Tag, ...]
Reference: TypeAlias = tuple[str, bytes, bytes]  # CHILD_OF or FOLLOWS_FROM, trace id, span id
Log: TypeAlias = tuple[int, Tags]  # Unix time in µs, fields


class BadSpan(ValueError):
    """A span or a batch that cannot be taken; the text says what is wrong with it."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """A span in Jaeger's model. Times are Unix µs; ids are raw bytes (trace 8 or 16, span 8).

    Its tags are those of `texts` and then those of `tags`: most tags are text under a name of its own, and a
    dictionary is taken apart at a fraction of the cost.
    """

    trace_id: bytes
    span_id: bytes
    service: str
    operation: str
    kind: str  # client, server, producer, consumer, internal or ""
    start_us: int
    duration_us: int
    texts: dict[str, str] = {}
    tags: Tags = ()
    process_tags: Tags = ()
    references: tuple[Reference, ...] = ()
    logs: tuple[Log, ...] = ()
    flags: int = 0


def trace_id_of(text: str) -> bytes:
    """1 to 32 hex digits → 16 bytes, or 8 when the upper half is zero (as Jaeger prints them)."""
    if not 0 < len(text) <= 32:
        raise BadSpan(f"trace id {text!r} is not 1 to 32 hex digits")
    try:
        raw = bytes.fromhex(text if len(text) in (16, 32) else text.zfill(32))
    except ValueError as error:
        raise BadSpan(f"trace id {text!r} is not hexadecimal") from error
    return raw[8:] if len(raw) == 16 and not any(raw[:8]) else raw


def span_id_of(text: str) -> bytes:
    """1 to 16 hex digits → 8 bytes."""
    if not 0 < len(text) <= 16:
        raise BadSpan(f"span id {text!r} is not 1 to 16 hex digits")
    try:
        return bytes.fromhex(text if len(text) == 16 else text.zfill(16))
    except ValueError as error:
        raise BadSpan(f"span id {text!r} is not hexadecimal") from error


def tag_json(key: str, value: Value) -> str:
    """One tag as Jaeger writes it: key, type (string, bool, int64, float64, binary) and value."""
    if isinstance(value, str):
        return f"{_string_tag(key)}{quote(value)}}}"
    if isinstance(value, bool):
        return f'{{"key":{quote(key)},"type":"bool","value":{"true" if value else "false"}}}'
    if isinstance(value, int):
        return f'{{"key":{quote(key)},"type":"int64","value":{value}}}'
    if isinstance(value, float):
        # JSON has no such numbers; OTLP writes them as text
        number = json.dumps(value) if isfinite(value) else quote(_NOT_FINITE[str(value)])
        return f'{{"key":{quote(key)},"type":"float64","value":{number}}}'
    return f'{{"key":{quote(key)},"type":"binary","value":{msgspec.json.encode(value).decode()}}}'


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


@lru_cache(1024)
def _string_tag(key: str) -> str:
    return f'{{"key":{quote(key)},"type":"string","value":'


def tag_jsons(key: str, text: str) -> list[str]:
    """The JSON of every tag with this key whose value a search writes as `text`: text, `true`, `12`, hex."""
    values: list[Value] = [text]
    for value_of in (_bool, int, float, bytes.fromhex):
        with suppress(ValueError):
            values.append(value_of(text))
    return [tag_json(key, value) for value in values if _text(value) == text]


def _bool(text: str) -> bool:
    return bool(("false", "true").index(text))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.hex() if isinstance(value, bytes) else str(value)


_encode = msgspec.json.Encoder().encode


def quote(text: str) -> str:
    """A JSON string."""
    return _encode(text).decode()


def marks(tags: Sequence[str]) -> bytearray:
    """Four bytes for each tag's JSON. Others may share them: they say where to look, not what is there."""
    return bytearray(pack(f">{len(tags)}I", *map(crc32, map(str.encode, tags))))


NOBODY = bytearray()


def parent_of(references: tuple[Reference, ...]) -> bytearray:
    """The span id of the first parent, or empty."""
    for how, _, parent in references:
        if how == "CHILD_OF":
            return bytearray(parent)
    return NOBODY


def logs_json(logs: tuple[Log, ...]) -> list[tuple[int, list[str]]]:
    """Each log's time and fields, these as JSON."""
    return [(at_us, [tag_json(key, value) for key, value in fields]) for at_us, fields in logs]


def rest_json(flags: int, references: tuple[Reference, ...], logs: list[tuple[int, list[str]]]) -> str:
    """Flags, references and logs as Jaeger writes them: JSON members without their braces."""
    refs = items = ""
    if references:
        refs = ",".join(
            [f'{{"refType":"{how}","traceID":"{t.hex()}","spanID":"{s.hex()}"}}' for how, t, s in references]
        )
    if logs:
        items = ",".join([f'{{"timestamp":{at},"fields":[{",".join(fields)}]}}' for at, fields in logs])
    head = f'"flags":{flags},' if flags else ""
    return f'{head}"references":[{refs}],"logs":[{items}]'
