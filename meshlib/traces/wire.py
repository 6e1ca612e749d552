"""Jaeger's JSON → columns, without a dictionary in between (pure).

Both APIs are read: the legacy one (`/api/traces`, Jaeger's own model, times in µs) and `/api/v3/traces`
(OTLP as JSON, times in ns). Only the tags of `TAGS` become columns; more can be asked for by name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    data: list[_Trace] | None = None
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
_v3 = msgspec.json.Decoder(_V3Answer)


@dataclass
class Columns:
    """Spans as columns of equal length; names that repeat are kept once and numbered."""

    tags: tuple[str, ...] = ()  # further tags, each a column of its own name
    trace_id: list[str] = field(default_factory=list)
    span_id: list[str] = field(default_factory=list)
    parent_id: list[str] = field(default_factory=list)
    start_us: array[int] = field(default_factory=lambda: array("q"))
    duration_us: array[int] = field(default_factory=lambda: array("q"))
    named: dict[str, Names] = field(default_factory=dict)
    traces: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        wanted = {**TAGS, **{tag: (tag,) for tag in self.tags}}
        self.named = {name: Names() for name in ("service", "operation", *wanted)}
        # tag → (column, its place among the tags that carry the column)
        self._carriers = {tag: column for column, tags in wanted.items() for tag in reversed(tags)}
        self._wanted = tuple(wanted)

    def __len__(self) -> int:
        return len(self.trace_id)

    def add_legacy(self, body: bytes) -> int:
        """Add the traces of a legacy answer that are not there yet; return how many the answer held."""
        answer = _decoded(_legacy, body)
        if answer.errors:
            raise ClusterError(f"Jaeger: {answer.errors[0].msg}", status=answer.errors[0].code)
        traces = answer.data or []
        for trace in traces:
            if trace.trace_id in self.traces:
                continue
            self.traces.add(trace.trace_id)
            services = {name: process.service for name, process in trace.processes.items()}
            trace_id = trace.trace_id.zfill(32)
            for span in trace.spans:
                parent = next((r.span_id for r in span.references if r.kind == "CHILD_OF"), "")
                self._add(trace_id, span.span_id, parent, span.start_us, span.duration_us)
                self._add_names(
                    services.get(span.process, ""), span.operation, {tag.key: tag.value for tag in span.tags}
                )
        return len(traces)

    def add_v3(self, body: bytes) -> int:
        """Add the traces of a `/api/v3` answer that are not there yet; return how many the answer held."""
        answer = _decoded(_v3, body)
        seen: set[str] = set()
        for group in answer.result.resource_spans:
            names = [each.value.plain() for each in group.resource.attributes if each.key == "service.name"]
            service = str(names[0]) if names else ""
            for span in (span for scope in group.scope_spans for span in scope.spans):
                seen.add(span.trace_id)
                if span.trace_id in self.traces:
                    continue
                start, end = int(span.start_time_unix_nano) // 1000, int(span.end_time_unix_nano) // 1000
                self._add(span.trace_id.zfill(32), span.span_id, span.parent_span_id, start, end - start)
                tags: dict[str, Value] = {each.key: each.value.plain() for each in span.attributes}
                tags.setdefault("span.kind", _kind(span.kind))
                if span.status.code in (2, "STATUS_CODE_ERROR"):
                    tags.setdefault("error", True)
                self._add_names(service, span.name, tags)
        self.traces |= seen
        return len(seen)

    def _add(self, trace_id: str, span_id: str, parent_id: str, start_us: int, duration_us: int) -> None:
        self.trace_id.append(trace_id)
        self.span_id.append(span_id)
        self.parent_id.append("" if parent_id.strip("0") == "" else parent_id)
        self.start_us.append(start_us)
        self.duration_us.append(duration_us)

    def _add_names(self, service: str, operation: str, tags: Mapping[str, Value]) -> None:
        named, carriers = self.named, self._carriers
        named["service"].add(service)
        named["operation"].add(operation)
        found: dict[str, Value] = {}
        for tag in tags.keys() & carriers.keys():
            found.setdefault(carriers[tag], tags[tag])
        for column in self._wanted:
            named[column].add(found.get(column))


class Names:
    """A column of values that repeat: each value once, and its number per row."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.codes: array[int] = array("i")
        self._numbers: dict[Value, int] = {}

    def add(self, value: Value) -> None:
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        self.codes.append(number)


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
