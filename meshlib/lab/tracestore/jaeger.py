"""Stored spans → the JSON of Jaeger's query API (`/api/…`), by joining text that is JSON already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, TypeAlias

from meshlib.lab.tracestore.model import quote
from meshlib.lab.tracestore.search import StoredSpan


def envelope(data: object, *, total: int = 0, limit: int = 0, offset: int = 0) -> bytes:
    """The answer around `data`."""
    return json.dumps(
        {"data": data, "total": total, "limit": limit, "offset": offset, "errors": None},
        separators=(",", ":"),
    ).encode()


def error(code: int, message: str) -> bytes:
    """The answer that carries one error."""
    return json.dumps(
        {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": code, "msg": message}]},
        separators=(",", ":"),
    ).encode()


METRICS_DISABLED = "metrics querying is currently disabled"
NO_ARCHIVE = "archive span storage was not configured"
_IP_TAGS = ("ip", "peer.ipv4")

Lookup: TypeAlias = Callable[[str, Iterable[int]], Mapping[int, Any]]


def traces_json(
    traces: Mapping[str, Sequence[StoredSpan]], lookup: Lookup, missing: Sequence[str] = ()
) -> bytes:
    """The answer to a search: all traces, and the ids that are `missing`. `lookup` is `Store.texts`."""
    spans = [span for each in traces.values() for span in each]
    operations = {id_: quote(name) for id_, name in lookup("operation", {s.operation for s in spans}).items()}
    processes = {
        id_: f'{{"serviceName":{quote(service)},"tags":[{tags}]}}'
        for id_, (service, tags) in lookup("process", {s.process for s in spans}).items()
    }
    tagsets = lookup("tagset", {s.tagset for s in spans})
    items = [_trace(id_, of, operations, processes, tagsets) for id_, of in traces.items()]
    errors = json.dumps([{"msg": "trace not found", "traceID": each} for each in missing] or None)
    return f'{{"data":[{",".join(items)}],"total":0,"limit":0,"offset":0,"errors":{errors}}}'.encode()


def raw(body: bytes) -> bytes:
    """The answer with `raw=true`: IPv4 addresses are numbers still, as the Zipkin receiver stores them."""
    document = json.loads(body)
    for trace in document["data"]:
        holders = [*trace["spans"], *trace["processes"].values()]
        for tag in (tag for holder in holders for tag in holder["tags"]):
            if tag["key"] in _IP_TAGS and tag["type"] == "string":
                tag.update(type="int64", value=int(IPv4Address(tag["value"])))
    return json.dumps(document, separators=(",", ":")).encode()


def pretty(body: bytes) -> bytes:
    """The answer as it is with `prettyPrint=true`."""
    return json.dumps(json.loads(body), indent=4).encode()


def _trace(
    trace_id: str,
    spans: Sequence[StoredSpan],
    operations: Mapping[int, str],
    processes: Mapping[int, str],
    tagsets: Mapping[int, str],
) -> str:
    names: dict[int, str] = {}
    items: list[str] = []
    for span in dict.fromkeys(spans):  # a batch that was sent twice shows once
        name = names.setdefault(span.process, f"p{len(names) + 1}")
        tags = ",".join([text for text in (tagsets[span.tagset], span.own) if text])
        items.append(
            f'{{"traceID":"{trace_id}","spanID":"{span.span_id}","operationName":{operations[span.operation]},'
            f'{span.rest},"startTime":{span.start_us},"duration":{span.duration_us},"tags":[{tags}],'
            f'"processID":"{name}","warnings":null}}'
        )
    of = ",".join(f'"{name}":{processes[id_]}' for id_, name in names.items())
    return f'{{"traceID":"{trace_id}","spans":[{",".join(items)}],"processes":{{{of}}},"warnings":null}}'
