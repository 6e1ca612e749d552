"""`meshlib traces`: what Jaeger knows about a service, as tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd

from meshlib import export
from meshlib.errors import ParameterError
from meshlib.traces import frames
from meshlib.traces.jaeger import Jaeger
from meshlib.traces.transport import Transport, UrlTransport

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_S = 3650 * 86_400
Reach = Callable[[str | None, str | None], Transport]  # kubeconfig, context → Jaeger through the API server


@click.command("traces", short_help="Read traces and show where the time goes.")
@click.option(
    "--service", "-s", required=True, help="The service, such as istio-ingressgateway.istio-system."
)
@click.option("--last", default="5m", show_default=True, help="How far back: 30s, 5m, 2h, 1d.")
@click.option("--operation", help="Only traces with this operation.")
@click.option("--tag", multiple=True, metavar="K=V", help="Only traces with this tag; may be repeated.")
@click.option("--url", help="Jaeger's own URL, instead of the way through the API server.")
@click.option("--kubeconfig", help="Kubeconfig of the cluster; the embedded lab's unless given.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--json", "as_json", is_flag=True, help="Print the traces as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the spans as CSV.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the spans (.csv, .parquet) or the traces (.json).",
)
@click.pass_context
def traces(
    ctx: click.Context,
    service: str,
    last: str,
    operation: str | None,
    tag: tuple[str, ...],
    url: str | None,
    kubeconfig: str | None,
    context: str | None,
    as_json: bool,
    as_csv: bool,
    out: Path | None,
) -> None:
    """Fetch all traces of a service in a window and print percentiles, outliers, errors and dependencies."""
    if as_json and as_csv:
        raise ParameterError(["json, csv: give one of them"])
    if out is not None:
        export.check(out, kinds=(export.CSV, export.PARQUET, export.JSON))
    if not service:
        raise ParameterError(["service: it has no name"])
    back_us, tags = window_us(last), _tags(tag)
    if url is not None and not url.startswith(("http://", "https://")):
        raise ParameterError([f"url: {url!r} is not http://host[:port] or https://host[:port]"])
    reach: Reach | None = (ctx.obj or {}).get("jaeger")
    if url is not None:
        transport: Transport = UrlTransport(url)
    elif reach is not None:
        transport = reach(kubeconfig, context)
    else:
        raise ParameterError(["url: needed, there is no way through an API server here"])
    now_us = time.time_ns() // 1000
    client = Jaeger(transport)
    spans = client.spans(service, now_us - back_us, now_us, operation=operation, tags=tags)
    if out is not None and out.suffix == export.JSON:
        document = _document(service, frames.traces(spans), spans)
        export.write_bytes(out, json.dumps(document, indent=2).encode())
    elif out is not None:
        export.write(out, [spans])
    if as_csv:
        click.echo(spans.to_csv(index=False), nl=False)
    elif as_json:
        click.echo(json.dumps(_document(service, frames.traces(spans), spans)))
    else:
        click.echo(_text(service, last, spans, client))


def window_us(text: str) -> int:
    """`30s`, `5m`, `2h`, `1d` in µs."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    back_s = float(match[1]) * UNITS_S[match[2]] if match else 0.0
    if not 0 < back_s <= LONGEST_S:
        raise ParameterError([f"last: {text!r} is not a time such as 30s, 5m, 2h or 1d, at most 3650d"])
    return round(back_s * 1_000_000)


def _tags(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [key for key, mark, _ in pairs if not mark or not key]:
        raise ParameterError([f"tag: {each!r} is not KEY=VALUE" for each in wrong])
    return {key: value for key, _, value in pairs}


def _document(service: str, found: pd.DataFrame, spans: pd.DataFrame) -> dict[str, object]:
    def rows(frame: pd.DataFrame) -> object:
        return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us"))

    return {
        "service": service,
        "traces": rows(found),
        "percentiles": rows(frames.percentiles(spans)),
        "dependencies": rows(frames.dependencies(spans)),
    }


def _text(service: str, last: str, spans: pd.DataFrame, client: Jaeger) -> str:
    if spans.empty:
        known = ", ".join(client.services()) or "none"
        return f"no trace of {service} in the last {last}; services that Jaeger knows: {known}"
    found = frames.traces(spans)
    parts = {
        f"{len(found):,} traces, {len(spans):,} spans in {last}, durations in ms": frames.percentiles(spans),
        "slowest": frames.outliers(found),
        "calls": frames.dependencies(spans),
        "failed": frames.errors(spans).head(10),
    }
    shown = [f"{title}\n{table.to_string(index=False)}" for title, table in parts.items() if len(table)]
    return "\n\n".join(shown)
