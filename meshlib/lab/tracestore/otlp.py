"""OTLP traces → the store's spans, by the rules of the OpenTelemetry collector for Jaeger (pure).

Rules (opentelemetry-collector-contrib `pkg/translator/jaeger`): resource attributes are the process and
its tags, `service.name` its name; the span's kind, the scope's name and version, the status and the trace
state become tags; events are logs with the field `event`; links are FOLLOWS_FROM references; lists and maps
become JSON text.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, TypeAlias

import msgspec

from meshlib.lab.tracestore.model import BadSpan, Log, Reference, Span, Tag, Value

Number: TypeAlias = int | str  # a 64-bit number is text in JSON
KINDS = ("", "internal", "server", "client", "producer", "consumer")
KIND_NAMES = {f"SPAN_KIND_{name.upper() or 'UNSPECIFIED'}": number for number, name in enumerate(KINDS)}
ERROR = (2, "STATUS_CODE_ERROR")
OK = (1, "STATUS_CODE_OK")


class _List(msgspec.Struct, gc=False):
    values: list[_Any] = []


class _Map(msgspec.Struct, gc=False):
    values: list[_Attribute] = []


class _Any(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Number | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: _List | None = None
    kvlist_value: _Map | None = None


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: _Any = msgspec.field(default_factory=_Any)


class _Event(msgspec.Struct, rename="camel", gc=False):
    time_unix_nano: Number = 0
    name: str = ""
    attributes: list[_Attribute] = []


class _Link(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    span_id: str


class _Status(msgspec.Struct, gc=False):
    code: int | str = 0
    message: str = ""


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    name: str = ""
    parent_span_id: str = ""
    trace_state: str = ""
    kind: int | str = 0
    start_time_unix_nano: Number = 0
    end_time_unix_nano: Number = 0
    attributes: list[_Attribute] = []
    events: list[_Event] = []
    links: list[_Link] = []
    status: _Status = msgspec.field(default_factory=_Status)


class _Scope(msgspec.Struct, gc=False):
    name: str = ""
    version: str = ""


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _Scope = msgspec.field(default_factory=_Scope)
    spans: list[_Span] = []


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Attribute] = []


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    scope_spans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans] = []


_decoder = msgspec.json.Decoder(_Request)


def from_json(body: bytes) -> list[Span]:
    """The JSON body of POST /v1/traces → spans. Raises `BadSpan`."""
    try:
        request = _decoder.decode(body)
        return _spans(request)
    except BadSpan:
        raise
    except (ValueError, RecursionError) as error:  # also a number that is none
        raise BadSpan(f"the body is not an OTLP ExportTraceServiceRequest: {error}") from error


def _spans(request: _Request) -> list[Span]:
    found: list[Span] = []
    for group in request.resource_spans:
        service, process_tags = _process(
            [(each.key, _plain(each.value)) for each in group.resource.attributes]
        )
        for scope in group.scope_spans:
            found += [
                _made(
                    _id(span.trace_id, 16),
                    _id(span.span_id, 8),
                    _id(span.parent_span_id, 8) if span.parent_span_id else b"",
                    service,
                    process_tags,
                    span.name,
                    KIND_NAMES.get(span.kind, 0) if isinstance(span.kind, str) else span.kind,
                    int(span.start_time_unix_nano),
                    int(span.end_time_unix_nano),
                    [(each.key, _plain(each.value)) for each in span.attributes],
                    (scope.scope.name, scope.scope.version, span.trace_state),
                    (
                        2 if span.status.code in ERROR else 1 if span.status.code in OK else 0,
                        span.status.message,
                    ),
                    [
                        (int(e.time_unix_nano), e.name, [(a.key, _plain(a.value)) for a in e.attributes])
                        for e in span.events
                    ],
                    [(_id(link.trace_id, 16), _id(link.span_id, 8)) for link in span.links],
                )
                for span in scope.spans
            ]
    return found


def from_protobuf(body: bytes) -> list[Span]:
    """The protobuf body of POST /v1/traces, or the message of the gRPC call → spans. Raises `BadSpan`."""
    from google.protobuf.message import DecodeError  # 10 MB that only protobuf senders need
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadSpan(f"the body is not an OTLP ExportTraceServiceRequest: {error}") from error
    found: list[Span] = []
    for group in request.resource_spans:
        service, process_tags = _process(
            [(each.key, _from_pb(each.value)) for each in group.resource.attributes]
        )
        for scope in group.scope_spans:
            found += [
                _made(
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    service,
                    process_tags,
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    [(each.key, _from_pb(each.value)) for each in span.attributes],
                    (scope.scope.name, scope.scope.version, span.trace_state),
                    (span.status.code, span.status.message),
                    [
                        (e.time_unix_nano, e.name, [(a.key, _from_pb(a.value)) for a in e.attributes])
                        for e in span.events
                    ],
                    [(link.trace_id, link.span_id) for link in span.links],
                )
                for span in scope.spans
            ]
    return found


def _made(
    trace_id: bytes,
    span_id: bytes,
    parent: bytes,
    service: str,
    process_tags: tuple[Tag, ...],
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    tags: list[Tag],
    scope: tuple[str, str, str],
    status: tuple[int, str],
    events: list[tuple[int, str, list[Tag]]],
    links: list[tuple[bytes, bytes]],
) -> Span:
    if len(trace_id) != 16 or not any(trace_id):
        raise BadSpan(f"trace id {trace_id.hex()!r} is not 16 bytes other than zeros")
    if len(span_id) != 8 or not any(span_id):
        raise BadSpan(f"span id {span_id.hex()!r} is not 8 bytes other than zeros")
    if not (0 <= start_ns < 2**64 and 0 <= end_ns < 2**64):
        raise BadSpan(f"span {span_id.hex()} has times outside of 64 bits")
    if not all(0 <= at_ns < 2**64 for at_ns, _, _ in events):
        raise BadSpan(f"span {span_id.hex()} has events at times outside of 64 bits")
    trace_id = _short(trace_id)
    kind_name = KINDS[kind] if 0 <= kind < len(KINDS) else ""
    for key, text in zip(("otel.scope.name", "otel.scope.version", "w3c.tracestate"), scope, strict=True):
        if text:
            tags.append((key, text))
    if kind_name:
        tags.append(("span.kind", kind_name))
    code, message = status
    if code:
        tags.append(("otel.status_code", "ERROR" if code == 2 else "OK"))
    if code == 2:
        tags.append(("error", True))
    if message:
        tags.append(("otel.status_description", message))
    references: list[Reference] = []
    if parent and any(parent):
        references.append(("CHILD_OF", trace_id, parent))
    references += [("FOLLOWS_FROM", _short(linked), other) for linked, other in links]
    logs: list[Log] = [
        (at_ns // 1000, (*((("event", event),) if event else ()), *fields)) for at_ns, event, fields in events
    ]
    texts: dict[str, str] = {}
    others: list[Tag] = []
    for key, value in tags:
        if isinstance(value, str) and key not in texts:
            texts[key] = value
        else:
            others.append((key, value))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        service=service,
        operation=name,
        kind=kind_name,
        start_us=start_ns // 1000,
        duration_us=max(0, end_ns - start_ns) // 1000,
        texts=texts,
        tags=tuple(others),
        process_tags=process_tags,
        references=tuple(references),
        logs=tuple(logs),
    )


def _process(attributes: list[Tag]) -> tuple[str, tuple[Tag, ...]]:
    names = [value for key, value in attributes if key == "service.name"]
    return str(names[0]) if names else "OTLPResourceNoServiceName", tuple(
        (key, value) for key, value in attributes if key != "service.name"
    )


def _short(trace_id: bytes) -> bytes:
    return trace_id[8:] if len(trace_id) == 16 and not any(trace_id[:8]) else trace_id


def _id(text: str, size: int) -> bytes:
    try:
        return bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadSpan(f"id {text!r} is neither {2 * size} hex digits nor base64") from error


def _plain(value: _Any) -> Value:
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.int_value is not None:
        return _int64(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value, validate=True)
    nested = _nested(value)
    return "" if nested is None else json.dumps(nested, separators=(",", ":"))


def _int64(number: Number) -> int:
    value = int(number)
    if not -(2**63) <= value < 2**63:
        raise BadSpan(f"attribute value {value} is outside of 64 bits")
    return value


def _nested(value: _Any) -> Any:
    if value.array_value is not None:
        return [_nested(each) for each in value.array_value.values]
    if value.kvlist_value is not None:
        return {each.key: _nested(each.value) for each in value.kvlist_value.values}
    plain = (value.string_value, value.bool_value, value.int_value, value.double_value, value.bytes_value)
    return next((each for each in plain if each is not None), None)


def _from_pb(value: Any) -> Value:
    which = value.WhichOneof("value")
    if which is None:
        return ""
    if which in ("array_value", "kvlist_value"):
        return json.dumps(_nested_pb(value), separators=(",", ":"))
    plain: Value = getattr(value, which)
    return plain


def _nested_pb(value: Any) -> Any:
    which = value.WhichOneof("value")
    if which == "array_value":
        return [_nested_pb(each) for each in value.array_value.values]
    if which == "kvlist_value":
        return {each.key: _nested_pb(each.value) for each in value.kvlist_value.values}
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, which) if which else None
