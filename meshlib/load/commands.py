"""`meshlib load`: the command line of `load.run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import click
import msgspec
import yaml

from meshlib import export
from meshlib.errors import ParameterError
from meshlib.load.plan import Http, Plan, Request, TraceHeaders
from meshlib.load.result import SAVED, LoadResult
from meshlib.load.run import run

# kubeconfig, context, namespace, image → what runs a plan there
Reach = Callable[[str | None, str | None, str, str | None], Callable[[Plan], LoadResult]]


@click.command("load", short_help="Load a URL and measure it.")
@click.argument("url")
@click.option("--rate", type=float, help="Open loop: requests/s; latency counts from the intended send time.")
@click.option("--steps", metavar="R:S,…", help="Open loop in steps: rate:seconds, separated by commas.")
@click.option("--poisson", is_flag=True, help="Open loop with exponential gaps instead of constant ones.")
@click.option("--connections", "-c", type=int, default=10, show_default=True, help="Connections in all.")
@click.option(
    "--streams", "-m", type=int, default=1, show_default=True, help="HTTP/2 streams of a connection."
)
@click.option("--duration", "-d", type=float, help="Seconds; 10 unless --requests is given.")
@click.option("--requests", "-n", type=int, help="End after so many requests.")
@click.option(
    "--http",
    type=click.Choice(["1.1", "2"]),
    default="1.1",
    show_default=True,
    help="Version; a server that does not speak 2 is an error.",
)
@click.option("--method", "-X", default=None, help="GET, or POST when there is a body.")
@click.option("--header", "-H", multiple=True, metavar="K:V", help="A request header; may be repeated.")
@click.option("--data", metavar="TEXT|@FILE", help="The body of each request.")
@click.option(
    "--mix",
    type=click.Path(path_type=Path),
    help="YAML list: path or url, method, headers, body, weight.",
)
@click.option("--cacert", help="PEM file of the authorities to trust instead of the system's.")
@click.option("--cert", help="Client certificate, PEM.")
@click.option("--key", help="Its private key, PEM.")
@click.option(
    "--resolve", multiple=True, metavar="HOST:PORT:ADDR", help="Address to use for a host and port."
)
@click.option(
    "--no-keepalive", is_flag=True, help="A new connection and a whole TLS handshake for every request."
)
@click.option("--timeout", type=float, default=30.0, show_default=True, help="Seconds for one request.")
@click.option("--trace", type=click.Choice(["none", "w3c", "b3", "both"]), default="none", show_default=True)
@click.option(
    "--sampled", type=float, default=1.0, show_default=True, help="Share of the traces marked as sampled."
)
@click.option("--workers", "-w", type=int, default=1, show_default=True, help="Processes.")
@click.option("--job", type=int, metavar="N", help="Run in N pods of a cluster instead of here.")
@click.option("--namespace", default="default", show_default=True, help="Of the Job.")
@click.option("--kubeconfig", help="Kubeconfig of the Job's cluster; the embedded lab's unless given.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--job-image", help="Image of the Job, with Python and meshlib.  [default: meshlib:latest]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of Poisson arrivals.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the requests (.csv, .parquet) or the summary (.json).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def load(
    ctx: click.Context,
    url: str,
    rate: float | None,
    steps: str | None,
    poisson: bool,
    connections: int,
    streams: int,
    duration: float | None,
    requests: int | None,
    http: str,
    method: str | None,
    header: tuple[str, ...],
    data: str | None,
    mix: Path | None,
    cacert: str | None,
    cert: str | None,
    key: str | None,
    resolve: tuple[str, ...],
    no_keepalive: bool,
    timeout: float,
    trace: str,
    sampled: float,
    workers: int,
    job: int | None,
    namespace: str,
    kubeconfig: str | None,
    context: str | None,
    job_image: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Load URL from CONNECTIONS connections, or at a RATE of its own, and print what was measured.

    Failed requests are counted by kind. Exit code 2: a parameter is wrong, nothing was sent. Ctrl-C prints
    what was measured until then. With --job the addresses are those that the cluster's pods see, and only
    numbers come back.
    """
    if rate is not None and steps is not None:
        raise ParameterError(["rate, steps: give one of them"])
    if out is not None:
        export.check(out, kinds=SAVED)
    if job is not None and workers != 1:
        raise ParameterError(["job, workers: give one of them"])
    if job is not None and out is not None and out.suffix != export.JSON:
        raise ParameterError([f"out: {out}: the pods of a Job send back numbers, which go into a .json"])
    on = None if job is None else _cluster(ctx, kubeconfig, context, namespace, job_image)
    result = run(
        _mix(mix, url) if mix else [Request(url, method or ("POST" if data else "GET"), header, _body(data))],
        rate=rate if steps is None else _steps(steps),
        connections=connections,
        streams=streams,
        http=cast(Http, http),
        duration_s=duration if duration is not None or requests is not None else 10.0,
        requests=requests,
        arrivals="poisson" if poisson else "constant",
        cacert=cacert,
        cert=cert,
        key=key,
        resolve=resolve,
        keepalive=not no_keepalive,
        timeout_s=timeout,
        trace=cast(TraceHeaders, trace),
        sampled=sampled,
        workers=workers if job is None else job,
        seed=seed,
        progress=sys.stderr.isatty(),
        on=on,
    )
    if out is not None:
        result.save(out)
    click.echo(json.dumps(result.as_json()) if as_json else _text(result))


def _cluster(
    ctx: click.Context, kubeconfig: str | None, context: str | None, namespace: str, image: str | None
) -> Callable[[Plan], LoadResult]:
    reach: Reach | None = (ctx.obj or {}).get("job")
    if reach is None:
        raise ParameterError(["job: there is no way to a cluster here"])
    return reach(kubeconfig, context, namespace, image)


def _text(result: LoadResult) -> str:
    lines = [result.summary.to_string(header=False, float_format=lambda value: f"{value:,.3f}")]
    lines += [f"{kind}: {message}" for kind, message in result.messages.items()]
    lines += [f"warning: {warning}" for warning in result.numbers.warnings]
    return "\n".join(lines)


def _body(data: str | None) -> bytes | None:
    if data is None or not data.startswith("@"):
        return None if data is None else data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise ParameterError([f"data: cannot read {data[1:]}: {error.strerror}"]) from error


def _steps(text: str) -> list[tuple[float, float]]:
    try:
        return [
            (float(rate), float(seconds)) for rate, seconds in (step.split(":") for step in text.split(","))
        ]
    except ValueError as error:
        raise ParameterError([f"steps: {text!r} is not RATE:SECONDS,RATE:SECONDS,…"]) from error


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    path: str | None = None
    url: str | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    weight: float = 1.0


def _mix(file: Path, url: str) -> list[Request]:
    """The requests of a mix file; a `path` is taken on the command's URL."""
    try:
        entries = msgspec.convert(yaml.safe_load(file.read_text()), list[_Entry])
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ParameterError([f"mix: {file}: {error}"]) from error
    base = url.rstrip("/")
    return [
        Request(
            each.url or base + "/" + (each.path or "/").lstrip("/"),
            each.method,
            tuple(f"{name}: {value}" for name, value in each.headers.items()),
            None if each.body is None else each.body.encode(),
            each.weight,
        )
        for each in entries
    ]
