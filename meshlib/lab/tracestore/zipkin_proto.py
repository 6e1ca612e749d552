"""Zipkin's protobuf (zipkin.proto3, as published in openzipkin/zipkin-api) → the same spans as its JSON.

The messages are built from the table below, so that no generated code has to be kept.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv6Address
from typing import Any

from meshlib.lab.tracestore import zipkin
from meshlib.lab.tracestore.model import BadSpan, Span

# message → (number, name, type); a type with a capital is a message, one with a star is repeated
MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "Endpoint": (
        (1, "service_name", "string"),
        (2, "ipv4", "bytes"),
        (3, "ipv6", "bytes"),
        (4, "port", "int32"),
    ),
    "Annotation": ((1, "timestamp", "fixed64"), (2, "value", "string")),
    "Tag": (
        (1, "key", "string"),
        (2, "value", "string"),
    ),  # an entry of a map is a message with key and value
    "Span": (
        (1, "trace_id", "bytes"),
        (2, "parent_id", "bytes"),
        (3, "id", "bytes"),
        (4, "kind", "int32"),
        (5, "name", "string"),
        (6, "timestamp", "fixed64"),
        (7, "duration", "uint64"),
        (8, "local_endpoint", "Endpoint"),
        (9, "remote_endpoint", "Endpoint"),
        (10, "annotations", "Annotation*"),
        (11, "tags", "Tag*"),
        (12, "debug", "bool"),
        (13, "shared", "bool"),
    ),
    "ListOfSpans": ((1, "spans", "Span*"),),
}
KINDS = (None, "CLIENT", "SERVER", "PRODUCER", "CONSUMER")


def from_protobuf(body: bytes) -> list[Span]:
    """The protobuf body of POST /api/v2/spans → spans. Raises `BadSpan`."""
    from google.protobuf.message import DecodeError

    try:
        batch = _list_of_spans()()
        batch.ParseFromString(body)
    except DecodeError as error:
        raise BadSpan(f"the body is not a zipkin.proto3.ListOfSpans: {error}") from error
    return [zipkin.span_of(_plain(span)) for span in batch.spans]


def _plain(span: Any) -> zipkin.ZipkinSpan:
    return zipkin.ZipkinSpan(
        trace_id=span.trace_id.hex(),
        id=span.id.hex(),
        name=span.name,
        parent_id=span.parent_id.hex() or None,
        kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else None,
        timestamp=span.timestamp or None,
        duration=span.duration or None,
        debug=span.debug,
        local_endpoint=_endpoint(span.local_endpoint) if span.HasField("local_endpoint") else None,
        remote_endpoint=_endpoint(span.remote_endpoint) if span.HasField("remote_endpoint") else None,
        annotations=[zipkin.Annotation(each.timestamp, each.value) for each in span.annotations],
        tags={each.key: each.value for each in span.tags},
    )


def _endpoint(endpoint: Any) -> zipkin.Endpoint:
    return zipkin.Endpoint(
        service_name=endpoint.service_name or None,
        ipv4=".".join(map(str, endpoint.ipv4)) if len(endpoint.ipv4) == 4 else None,
        ipv6=str(IPv6Address(endpoint.ipv6)) if len(endpoint.ipv6) == 16 else None,
        port=endpoint.port or None,
    )


@cache
def _list_of_spans() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="zipkin.proto", package="zipkin.proto3", syntax="proto3")
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        made = file.message_type.add(name=message)
        for number, name, type_ in fields:
            base = type_.rstrip("*")
            field = made.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if type_.endswith("*") else field_type.LABEL_OPTIONAL
            if base in MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".zipkin.proto3.{base}"
            else:
                field.type = getattr(field_type, f"TYPE_{base.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("zipkin.proto3.ListOfSpans"))
