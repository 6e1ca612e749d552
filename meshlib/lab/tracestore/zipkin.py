"""Zipkin v2 spans → the store's spans, by the rules of Jaeger's own Zipkin receiver (pure).

Rules (Jaeger v1.46, `model/converter/thrift/zipkin` and `cmd/collector/app/zipkin`): the kind becomes the tag
`span.kind`; the remote endpoint `peer.service`, `peer.ipv4`, `peer.ipv6`, `peer.port`; every Zipkin tag a
string tag, save `error`, which becomes a boolean (a message moves to `error.message`); `internal.span.format`
says zipkin; the local endpoint is the process, its address the process tag `ip`; annotations are logs, the
text in the field `event`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from meshlib.lab.tracestore.model import BadSpan, Span, Tag, Tags, span_id_of, trace_id_of

Micros: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_FORMAT: Tag = ("internal.span.format", "zipkin")
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
KINDS = {"CLIENT": "client", "SERVER": "server", "PRODUCER": "producer", "CONSUMER": "consumer"}


class Endpoint(msgspec.Struct, rename="camel", gc=False):
    service_name: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    port: Port | None = None


class Annotation(msgspec.Struct, gc=False):
    timestamp: Micros
    value: str


class ZipkinSpan(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    id: str
    name: str | None = None
    parent_id: str | None = None
    kind: str | None = None
    timestamp: Micros | None = None
    duration: Micros | None = None
    debug: bool | None = None
    local_endpoint: Endpoint | None = None
    remote_endpoint: Endpoint | None = None
    annotations: list[Annotation] | None = None
    tags: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(list[ZipkinSpan])


def from_json(body: bytes) -> list[Span]:
    """The body of POST /api/v2/spans → spans. Raises `BadSpan` for the whole batch, as Jaeger does."""
    try:
        return [span_of(each) for each in _decoder.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSpan(f"the body is not a list of Zipkin v2 spans: {error}") from error


def span_of(zipkin: ZipkinSpan) -> Span:
    """One Zipkin v2 span in Jaeger's model."""
    trace_id = trace_id_of(zipkin.trace_id)
    kind = KINDS.get(zipkin.kind, "") if zipkin.kind else ""
    tags = _AFTER[kind] if zipkin.remote_endpoint is None else _of_peer(zipkin.remote_endpoint, kind)
    texts = zipkin.tags or {}
    if "error" in texts:
        tags = (*_error_as_bool(texts.pop("error")), *tags)
    local = zipkin.local_endpoint
    parent = span_id_of(zipkin.parent_id) if zipkin.parent_id else b""
    notes = zipkin.annotations or ()
    start_us = zipkin.timestamp or min((note.timestamp for note in notes), default=0)
    return Span(
        trace_id=trace_id,
        span_id=span_id_of(zipkin.id),
        service=(local.service_name if local else None) or "unknown-service-name",
        operation=zipkin.name or "",
        kind=kind,
        start_us=start_us,
        duration_us=zipkin.duration or 1,
        texts=texts,
        tags=tags,
        process_tags=(("ip", local.ipv4),) if local and local.ipv4 else (),
        references=(("CHILD_OF", trace_id, parent),) if parent.strip(b"\0") else (),
        logs=tuple([(note.timestamp, (("event", note.value),)) for note in notes]) if notes else (),
        flags=2 if zipkin.debug else 0,
    )


_AFTER: dict[str, Tags] = {
    "": (_FORMAT,),
    **{kind: (("span.kind", kind), _FORMAT) for kind in KINDS.values()},
}


def _of_peer(remote: Endpoint, kind: str) -> Tags:
    """The tags that follow a span's own: its kind, the remote endpoint, the format."""
    found: list[Tag] = [("span.kind", kind)] if kind else []
    if remote.service_name:
        found.append(("peer.service", remote.service_name))
    if remote.ipv4:
        found.append(("peer.ipv4", remote.ipv4))
    if remote.ipv6:
        found.append(("peer.ipv6", remote.ipv6))
    if remote.port:
        found.append(("peer.port", remote.port))
    return (*found, _FORMAT)


def _error_as_bool(value: str) -> Tags:
    if value in ("", "true"):
        return (("error", True),)
    return (("error", False),) if value == "false" else (("error", True), ("error.message", value))
