"""Stored spans → the JSON of Jaeger's `/api/v3` (OTLP), and what a search there asks for (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from meshlib.lab.tracestore.jaeger import Lookup
from meshlib.lab.tracestore.otlp import KINDS
from meshlib.lab.tracestore.query import LIMIT, MAX_LIMIT, BadQuery, Params, Search, go_duration_us
from meshlib.lab.tracestore.search import StoredSpan

# tags that carry what OTLP has a field for
_FIELDS = {"span.kind", "otel.status_code", "otel.status_description", "otel.scope.name",
"otel.scope.version",
           "w3c.tracestate"}  # fmt: skip
_NAMES = ("serviceName", "operationName", "startTimeMin", "startTimeMax", "searchDepth", "numTraces",
          "durationMin", "durationMax")  # fmt: skip
_TYPES = {
    "string": "stringValue",
    "bool": "boolValue",
    "int64": "intValue",
    "float64": "doubleValue",
    "binary": "bytesValue",
}
_FRACTION = re.compile(r"\.(\d+)")


def search(params: Params) -> Search:
    """The parameters of GET /api/v3/traces, in camel case or the older snake case. Raises `BadQuery`."""
    names = {name: _either(params, name) for name in _NAMES}
    for name in ("startTimeMin", "startTimeMax"):
        if not names[name]:
            raise BadQuery("query.startTimeMin and query.startTimeMax are required")
    start_us, end_us = (_time_us(name, names[name] or "") for name in ("startTimeMin", "startTimeMax"))
    depth = names["searchDepth"] or names["numTraces"]
    attributes = params.get("query.attributes", ())
    try:
        tags = json.loads(attributes[0]) if attributes and attributes[0] else {}
        limit = min(int(depth), MAX_LIMIT) if depth else LIMIT
        if not isinstance(tags, dict):
            raise ValueError("not an object")
        durations = [
            go_duration_us(text) if (text := names[name]) else None for name in ("durationMin", "durationMax")
        ]
    except (ValueError, RecursionError) as error:
        raise BadQuery(f"malformed parameter query: {error}") from error
    return Search(
        service=names["serviceName"] or "",
        operation=names["operationName"] or None,
        start_us=start_us,
        end_us=end_us,
        tags={key: str(value) for key, value in tags.items()},
        min_duration_us=durations[0],
        max_duration_us=durations[1],
        limit=limit,
    )


def _either(params: Params, name: str) -> str | None:
    snake = re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)
    for each in (f"query.{name}", f"query.{snake}"):
        if (values := params.get(each)) and values[0]:
            return values[0]
    return None


def _time_us(name: str, text: str) -> int:
    """RFC 3339 with up to nine digits of a second → Unix µs."""
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
        if moment.tzinfo is None:
            raise ValueError("no time zone")
    except ValueError as error:
        raise BadQuery(f'malformed parameter query.{name}: parsing time "{text}": {error}') from error
    fraction = _FRACTION.search(text)
    return round(moment.timestamp()) * 1_000_000 + (int(fraction[1][:6].ljust(6, "0")) if fraction else 0)


def error(code: int, message: str) -> bytes:
    """The answer of Jaeger's gRPC gateway that carries an error."""
    return json.dumps({"error": {"httpCode": code, "message": message}}, separators=(",", ":")).encode()


def traces_json(traces: Mapping[str, Sequence[StoredSpan]], lookup: Lookup) -> bytes:
    """`{"result": {"resourceSpans": […]}}`: one entry for each process of each trace."""
    spans = [span for each in traces.values() for span in each]
    names = lookup("operation", {span.operation for span in spans})
    processes = lookup("process", {span.process for span in spans})
    tagsets = lookup("tagset", {span.tagset for span in spans})
    groups: list[dict[str, Any]] = []
    for of_trace in traces.values():
        by_process: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
        for span in dict.fromkeys(of_trace):
            tags = json.loads(f"[{','.join(text for text in (tagsets[span.tagset], span.own) if text)}]")
            plain = {tag["key"]: tag["value"] for tag in tags}
            scope = (span.process, plain.get("otel.scope.name", ""), plain.get("otel.scope.version", ""))
            by_process.setdefault(scope, []).append(_span(span, names[span.operation], tags, plain))
        for (process, scope_name, version), members in by_process.items():
            service, tags_text = processes[process]
            resource = [{"key": "service.name", "value": {"stringValue": service}}]
            resource += [_attribute(tag) for tag in json.loads(f"[{tags_text}]")]
            scope_spans = {"scope": {"name": scope_name, "version": version}, "spans": members}
            groups.append({"resource": {"attributes": resource}, "scopeSpans": [scope_spans]})
    return json.dumps({"result": {"resourceSpans": groups}}, separators=(",", ":")).encode()


def _span(
    span: StoredSpan, name: str, tags: list[dict[str, Any]], plain: Mapping[str, Any]
) -> dict[str, Any]:
    rest = json.loads(f"{{{span.rest}}}")
    parent = next((ref["spanID"] for ref in rest["references"] if ref["refType"] == "CHILD_OF"), "")
    found: dict[str, Any] = {
        "traceId": span.trace_id.zfill(32),
        "spanId": span.span_id,
        "parentSpanId": parent,
        "name": name,
        "kind": KINDS.index(plain.get("span.kind", "")) if plain.get("span.kind", "") in KINDS else 0,
        "startTimeUnixNano": str(span.start_us * 1000),
        "endTimeUnixNano": str((span.start_us + span.duration_us) * 1000),
        "attributes": [_attribute(tag) for tag in tags if tag["key"] not in _FIELDS],
        "events": [_event(log) for log in rest["logs"]],
        "links": [
            {"traceId": ref["traceID"].zfill(32), "spanId": ref["spanID"]}
            for ref in rest["references"]
            if ref["refType"] != "CHILD_OF"
        ],
        "status": {},
    }
    if plain.get("otel.status_code") == "ERROR" or plain.get("error") in (True, "true"):
        found["status"] = {"code": 2, "message": plain.get("otel.status_description", "")}
    elif plain.get("otel.status_code") == "OK":
        found["status"] = {"code": 1}
    if "w3c.tracestate" in plain:
        found["traceState"] = plain["w3c.tracestate"]
    return found


def _attribute(tag: Mapping[str, Any]) -> dict[str, Any]:
    value = str(tag["value"]) if tag["type"] == "int64" else tag["value"]
    return {"key": tag["key"], "value": {_TYPES[tag["type"]]: value}}


def _event(log: Mapping[str, Any]) -> dict[str, Any]:
    names = [field["value"] for field in log["fields"] if field["key"] == "event"]
    return {
        "timeUnixNano": str(log["timestamp"] * 1000),
        "name": names[0] if names else "",
        "attributes": [_attribute(field) for field in log["fields"] if field["key"] != "event"],
    }
