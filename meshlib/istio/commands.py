"""`meshlib diagnose`: the command line of `diagnose.report`."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path

import click

from meshlib.home import lab_kubeconfig
from meshlib.istio import diagnose as rooms
from meshlib.kube import client


@click.command("diagnose", short_help="Say what is wrong with the ingress.")
@click.option("--kubeconfig", help="Kubeconfig of the cluster; the embedded lab's unless given.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--istio-namespace", default="istio-system", show_default=True, help="istiod's namespace.")
@click.option("--url", default="", help="A request to explain too, such as https://gohttpserver.io/metrics.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def diagnose(kubeconfig: str | None, context: str, istio_namespace: str, url: str, as_json: bool) -> None:
    """Read API objects and proxy state, change nothing, and print findings, the likeliest cause first.

    Exit code 4 when there is a finding of level Error.
    """
    file = Path(kubeconfig) if kubeconfig else lab_kubeconfig()
    found = rooms.report(client.connect(file, context, read_only=True), istio_namespace, url)
    if as_json:
        rows = found.rename(columns=str.lower).to_dict(orient="records")
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif found.empty:
        click.echo("nothing is wrong, as far as the API and the proxies show")
    else:
        click.echo("\n\n".join(_text(row) for row in found.to_dict(orient="records")))
    if (found["Level"] == "Error").any():
        raise SystemExit(4)


def _text(row: dict[Hashable, str]) -> str:
    code = f" [{row['Code']}]" if row["Code"] else ""
    lines = [f"{row['Level']}{code} {row['Mode']}: {row['Finding']}"]
    lines += [f"  {name.lower():9} {row[name]}" for name in ("Evidence", "Cause", "Fix")]
    return "\n".join(lines)
