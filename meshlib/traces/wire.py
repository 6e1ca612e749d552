"""Jaeger's JSON → columns, without a dictionary in between (pure).

Both APIs are read: the legacy one (`/api/traces`, Jaeger's own model, times in µs) and `/api/v3/traces`
(OTLP as JSON, times in ns). Only the tags of `TAGS` become columns; more can be asked for by name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from meshlib.errors import ClusterError

Value: TypeAlias = str | int | float | bool | None
# column → the tags that carry it, the first one found counts (Envoy's names, then OpenTelemetry's)
TAGS: dict[str, tuple[str, ...]] = {
    "kind": ("span.kind",),
    "status": ("http.status_code", "http.response.status_code"),
    "method": ("http.method", "http.request.method"),
    "url": ("http.url", "url.full"),
    "flags": ("response_flags",),
    "upstream": ("upstream_cluster.name", "upstream_cluster"),
    "request_id": ("guid:x-request-id",),
    "node_id": ("node_id",),
    "error": ("error",),
}


# tags that differ from span to span
OWN = ("request_id",)


class _Tag(msgspec.Struct, gc=False):
    key: str
    value: Value = None


class _Reference(
    msgspec.Struct, rename={"kind": "refType", "trace_id": "traceID", "span_id": "spanID"}, gc=False
):
    kind: str
    trace_id: str
    span_id: str


class _Span(
    msgspec.Struct,
    rename={
        "span_id": "spanID",
        "operation": "operationName",
        "start_us": "startTime",
        "duration_us": "duration",
        "process": "processID",
    },
    gc=False,
):
    span_id: str
    operation: str
    start_us: int
    duration_us: int
    process: str
    references: list[_Reference] = []
    tags: list[_Tag] = []


class _Process(msgspec.Struct, rename={"service": "serviceName"}, gc=False):
    service: str


class _Trace(msgspec.Struct, rename={"trace_id": "traceID"}, gc=False):
    trace_id: str
    spans: list[_Span] = []
    processes: dict[str, _Process] = {}


class _Error(msgspec.Struct):
    msg: str
    code: int = 0


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] | None = (
        None  # a trace at a time stays in the processor's cache, and in little memory
    )
    errors: list[_Error] | None = None


class _AnyValue(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None

    def plain(self) -> Value:
        for value in (self.string_value, self.bool_value, self.double_value):
            if value is not None:
                return value
        return None if self.int_value is None else int(self.int_value)


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: _AnyValue = msgspec.field(default_factory=_AnyValue)


class _Status(msgspec.Struct, gc=False):
    code: int | str = 0


class _OtlpSpan(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    span_id: str
    name: str = ""
    parent_span_id: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []
    status: _Status = msgspec.field(default_factory=_Status)


class _Scope(msgspec.Struct, gc=False):
    spans: list[_OtlpSpan] = []


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Attribute] = []


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    scope_spans: list[_Scope] = []
    resource: _Resource = msgspec.field(default_factory=_Resource)


class _TracesData(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpans] = []


class _V3Answer(msgspec.Struct):
    result: _TracesData = msgspec.field(default_factory=_TracesData)


KINDS = ("", "internal", "server", "client", "producer", "consumer")  # by OTLP's number
_legacy = msgspec.json.Decoder(_Answer)
_trace = msgspec.json.Decoder(_Trace)
_v3 = msgspec.json.Decoder(_V3Answer)


class Columns:
    """Spans as columns of equal length.

    What a span shares with many others (service, operation, most tags) is kept once, as a shape, and
    numbered. `tags` names further tags, each a column of its own name.
    """

    def __init__(self, tags: tuple[str, ...] = ()) -> None:
        self.trace_id: list[str] = []
        self.span_id: list[str] = []
        self.parent_id: list[str] = []
        self.start_us: array[int] = array("q")
        self.duration_us: array[int] = array("q")
        self.traces: set[str] = set()
        own = (*OWN, *tags)
        self.own: dict[str, list[Value]] = {name: [] for name in own}
        self.shared = ("service", "operation", *(name for name in TAGS if name not in OWN))
        self.shapes: dict[tuple[Value, ...], int] = {}  # values of `shared` → number
        self.shape: array[int] = array("i")
        carriers = {**TAGS, **{tag: (tag,) for tag in tags}}
        places = {name: place for place, name in enumerate((*self.shared, *own))}
        self._places = {tag: places[name] for name, tags_of in carriers.items() for tag in tags_of}
        self._width = len(places)
        self._own_places = [(places[name], values) for name, values in self.own.items()]

    def __len__(self) -> int:
        return len(self.trace_id)

    def add_legacy(self, body: bytes) -> int:
        """Add the traces of a legacy answer that are not there yet; return how many the answer held."""
        answer = _decoded(_legacy, body)
        if answer.errors:
            raise ClusterError(f"Jaeger: {answer.errors[0].msg}", status=answer.errors[0].code)
        traces = answer.data or []
        place_of = self._places.get
        empty: list[Value] = [None] * self._width
        for raw in traces:
            trace = _decoded(_trace, raw)
            if trace.trace_id in self.traces:
                continue
            self.traces.add(trace.trace_id)
            trace_id = trace.trace_id.zfill(32)
            services = {name: process.service for name, process in trace.processes.items()}
            for span in trace.spans:
                row = empty.copy()
                for tag in span.tags:
                    if (place := place_of(tag.key)) is not None:
                        row[place] = tag.value
                row[0], row[1] = services.get(span.process, ""), span.operation
                parent = ""
                for reference in span.references:
                    if reference.kind == "CHILD_OF" and not parent:
                        parent = reference.span_id
                self._add(trace_id, span.span_id, parent, span.start_us, span.duration_us, row)
        return len(traces)

    def add_v3(self, body: bytes) -> int:
        """Add the traces of a `/api/v3` answer that are not there yet; return how many the answer held."""
        answer = _decoded(_v3, body)
        seen: set[str] = set()
        kind, error = self._places["span.kind"], self._places["error"]
        for group in answer.result.resource_spans:
            names = [each.value.plain() for each in group.resource.attributes if each.key == "service.name"]
            service = str(names[0]) if names else ""
            for span in (span for scope in group.scope_spans for span in scope.spans):
                seen.add(span.trace_id)
                if span.trace_id in self.traces:
                    continue
                row: list[Value] = [None] * self._width
                for each in span.attributes:
                    place = self._places.get(each.key)
                    if place is not None:
                        row[place] = each.value.plain()
                row[0], row[1] = service, span.name
                row[kind] = row[kind] or _kind(span.kind)
                if span.status.code in (2, "STATUS_CODE_ERROR"):
                    row[error] = True
                start, end = int(span.start_time_unix_nano) // 1000, int(span.end_time_unix_nano) // 1000
                self._add(span.trace_id.zfill(32), span.span_id, span.parent_span_id, start, end - start, row)
        self.traces |= seen
        return len(seen)

    def _add(
        self, trace_id: str, span_id: str, parent_id: str, start_us: int, duration_us: int, row: list[Value]
    ) -> None:
        self.trace_id.append(trace_id)
        self.span_id.append(span_id)
        self.parent_id.append(parent_id if parent_id.strip("0") else "")
        self.start_us.append(start_us)
        self.duration_us.append(duration_us)
        for place, values in self._own_places:
            values.append(row[place])
        key = tuple(row[: len(self.shared)])
        number = self.shapes.get(key)
        if number is None:
            number = self.shapes[key] = len(self.shapes)
        self.shape.append(number)


def names(body: bytes, v3_member: str | None = None) -> list[str]:
    """The names in an answer about services or operations; entries may be texts or objects with a `name`."""
    document: Mapping[str, Iterable[str | Mapping[str, str]] | None] = _decoded(msgspec.json.Decoder(), body)
    entries = document.get(v3_member or "data") or ()
    return sorted({entry if isinstance(entry, str) else entry["name"] for entry in entries})


def _kind(kind: int | str) -> str:
    if isinstance(kind, str):
        return kind.removeprefix("SPAN_KIND_").lower().replace("unspecified", "")
    return KINDS[kind] if 0 <= kind < len(KINDS) else ""


def _decoded(decoder, body: bytes):  # type: ignore[no-untyped-def]
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        start = body[:80].decode("utf-8", "replace")
        raise ClusterError(f"this is not Jaeger's answer: {error}; it begins {start!r}") from error
