"""`meshlib run`, `meshlib parameters`: thin commands over the modules of this room."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from meshlib.runbook import tables

NOTEBOOKS = Path("notebooks")
OUTPUTS = Path("outputs")
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--parameters", "parameters_file", type=_PATH, help="File of parameters (YAML).")
@click.option("-p", "overrides", multiple=True, metavar="NAME=VALUE", help="One parameter; repeatable.")
@click.option("--only", multiple=True, metavar="NN", help="Only this step; repeatable.")
@click.option("--from", "first", metavar="NN", help="This step and the ones after it.")
@click.option("--resume", metavar="RUN", help="Go on where an earlier run ended.")
@click.option("--deadline", "deadline_s", type=float, metavar="S", help="Seconds for the whole run.")
@click.option("--read-only", is_flag=True, help="Refuse every write.")
@click.option("--keep-lab", is_flag=True, help="Leave the run's own lab up.")
@click.option("--no-html", is_flag=True, help="Write no HTML.")
@click.option("--out", type=_PATH, default=OUTPUTS, show_default=True, help="Where runs land.")
@click.option("--notebooks", type=_PATH, default=NOTEBOOKS, show_default=True)
def run(
    parameters_file: Path | None,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    first: str | None,
    resume: str | None,
    deadline_s: float | None,
    read_only: bool,
    keep_lab: bool,
    no_html: bool,
    out: Path,
    notebooks: Path,
) -> None:
    """Run the notebooks in order, write the record and the report.  Exit codes: docs/exit-codes.md."""
    from meshlib.runbook import run as runs

    request = runs.Request(
        notebooks=notebooks.resolve(),
        out=out.absolute(),
        parameters_file=parameters_file,
        overrides=overrides,
        only=only,
        first=first,
        resume=resume,
        deadline_s=deadline_s,
        read_only=read_only,
        keep_lab=keep_lab,
        html=not no_html,
    )
    sys.exit(runs.run(request))


@click.command()
@click.option("--format", "shape", type=click.Choice(["table", "json-schema", "yaml"]), default="table")
def parameters(shape: str) -> None:
    """Show every parameter with its type, default, bounds and help."""
    click.echo(
        {"table": tables.markdown, "json-schema": tables.json_schema, "yaml": tables.yaml_file}[shape](),
        nl=False,
    )
