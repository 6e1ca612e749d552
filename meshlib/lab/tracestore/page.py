"""A plain page of services and traces. It is not Jaeger's UI and says so (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from meshlib.lab.tracestore.search import StoredSpan

STYLE = "body{font:15px system-ui;margin:2rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0}"
HEADS = ("start (UTC)", "trace", "spans", "duration", "first operation")


def render(
    base: str,
    services: Sequence[str],
    service: str | None,
    traces: Mapping[str, Sequence[StoredSpan]],
    names: Mapping[int, str],
) -> str:
    """The page: all services, and the latest traces of `service`. `names` are operations by number."""
    items = [f'<a href="{escape(base)}/search?service={quote(each)}">{escape(each)}</a>' for each in services]
    links = "".join(f"<li>{item}</li>" for item in items or ["none yet"])
    parts = [f"<h2>Services</h2><ul>{links}</ul>"]
    if service is not None:
        head = "".join(f"<th>{name}</th>" for name in HEADS)
        rows = "".join(_row(base, trace_id, spans, names) for trace_id, spans in traces.items())
        parts.append(f"<h2>Latest traces of {escape(service)}</h2><table><tr>{head}</tr>{rows}</table>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Trace store</title>'
        f"<style>{STYLE}</style>"
        "<h1>Trace store of the embedded lab</h1>"
        "<p>This page is not the Jaeger UI. The query API is Jaeger's: "
        f"<code>{escape(base)}/api/…</code> and <code>{escape(base)}/api/v3/…</code></p>"
        f"{''.join(parts)}</html>"
    )


def _row(base: str, trace_id: str, spans: Sequence[StoredSpan], names: Mapping[int, str]) -> str:
    first = spans[0]
    start = datetime.fromtimestamp(first.start_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    end_us = max(span.start_us + span.duration_us for span in spans)
    link = f'<a href="{escape(base)}/api/traces/{trace_id}?prettyPrint=true">{trace_id}</a>'
    duration = f"{(end_us - first.start_us) / 1000:.2f} ms"
    cells = (start, link, str(len(spans)), duration, escape(names.get(first.operation, "")))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
