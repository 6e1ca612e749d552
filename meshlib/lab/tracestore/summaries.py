"""Stored spans → the JSON of Jaeger's `/api/v3/trace-summaries` (since 2.19): traces without spans (pure).

Source of the fields: Jaeger `internal/apiv3/summaries.go`. The root is a span without a parent, else the
earliest; an orphan is a span whose parent is not in the trace; times are Unix ns as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshlib.lab.tracestore.jaeger import Lookup
from meshlib.lab.tracestore.search import StoredSpan


def summaries_json(traces: Mapping[str, Sequence[StoredSpan]], lookup: Lookup) -> bytes:
    """`{"summaries": […]}`, one entry a trace, in the order given. `lookup` is `Store.texts`."""
    spans = [span for each in traces.values() for span in each]
    operations = lookup("operation", {span.operation for span in spans})
    services = {id_: name for id_, (name, _) in lookup("process", {span.process for span in spans}).items()}
    tagsets = lookup("tagset", {span.tagset for span in spans})
    failed = {id_: is_error(text) for id_, text in tagsets.items()}
    found = [
        _summary(trace_id, list(dict.fromkeys(of)), operations, services, failed)
        for trace_id, of in traces.items()
    ]
    return json.dumps({"summaries": found}, separators=(",", ":")).encode()


def is_error(tags: str) -> bool:
    """Whether tags (a JSON list without its brackets) say that the span failed: OTLP's status, or `error`."""
    plain = {tag["key"]: tag["value"] for tag in json.loads(f"[{tags}]")}
    return plain.get("otel.status_code") == "ERROR" or plain.get("error") in (True, "true")


def _summary(
    trace_id: str,
    spans: list[StoredSpan],
    operations: Mapping[int, str],
    services: Mapping[int, str],
    failed: Mapping[int, bool],
) -> dict[str, Any]:
    parents = {span.span_id: _parent(span) for span in spans}
    first = min(spans, key=lambda span: (bool(parents[span.span_id]), span.start_us))
    by_service: dict[str, dict[str, Any]] = {}
    errors = 0
    for span in spans:
        name = services[span.process]
        entry = by_service.setdefault(name, {"name": name, "spanCount": 0, "errorSpanCount": 0})
        bad = failed[span.tagset] or bool(span.own and is_error(span.own))
        entry["spanCount"] += 1
        entry["errorSpanCount"] += bad
        errors += bad
    return {
        "traceId": trace_id.zfill(32),
        "rootServiceName": services[first.process],
        "rootOperationName": operations[first.operation],
        "minStartTimeUnixNano": str(min(span.start_us for span in spans) * 1000),
        "maxEndTimeUnixNano": str(max(span.start_us + span.duration_us for span in spans) * 1000),
        "spanCount": len(spans),
        "errorSpanCount": errors,
        "orphanSpanCount": sum(bool(parent) and parent not in parents for parent in parents.values()),
        "services": sorted(by_service.values(), key=lambda each: str(each["name"])),
    }


def _parent(span: StoredSpan) -> str:
    references = json.loads(f"{{{span.rest}}}")["references"]
    return next((str(each["spanID"]) for each in references if each["refType"] == "CHILD_OF"), "")
