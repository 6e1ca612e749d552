"""`meshlib run`, `report`, `history`, `schedule`, …: thin commands over the modules of this room."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from meshlib.runbook import nursery, tables

NOTEBOOKS = Path("notebooks")
OUTPUTS = Path("outputs")
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--parameters", "parameters_file", type=_PATH, help="File of parameters (YAML).")
@click.option("-p", "overrides", multiple=True, metavar="NAME=VALUE", help="One parameter; repeatable.")
@click.option("--only", multiple=True, metavar="NN", help="Only this step; repeatable.")
@click.option("--from", "first", metavar="NN", help="This step and the ones after it.")
@click.option("--resume", metavar="RUN", help="Go on where an earlier run ended.")
@click.option("--plan", "plan_only", is_flag=True, help="Say what would run; change nothing.")
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
    plan_only: bool,
    deadline_s: float | None,
    read_only: bool,
    keep_lab: bool,
    no_html: bool,
    out: Path,
    notebooks: Path,
) -> None:
    """Run the notebooks in order, write the record and the report.  Exit codes: docs/exit-codes.md."""
    if not plan_only:
        nursery.start()
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
    if plan_only:
        from meshlib.runbook import plan

        text, code = plan.describe(request)
        click.echo(text, nl=False)
        sys.exit(code)
    sys.exit(runs.run(request))


@click.command()
@click.option("--format", "shape", type=click.Choice(["table", "json-schema", "yaml"]), default="table")
def parameters(shape: str) -> None:
    """Show every parameter with its type, default, bounds and help."""
    click.echo(
        {"table": tables.markdown, "json-schema": tables.json_schema, "yaml": tables.yaml_file}[shape](),
        nl=False,
    )


@click.command()
@click.argument("name", metavar="RUN", default="latest")
@click.option("--out", type=_PATH, default=OUTPUTS, show_default=True)
def report(name: str, out: Path) -> None:
    """Write the pages of a run again, from its record (RUN: latest, or a run's name)."""
    from meshlib.runbook import finish, folders

    click.echo(finish.rewrite(folders.find(out, name)))


@click.command()
@click.option("--out", type=_PATH, default=OUTPUTS, show_default=True)
@click.option("--last", type=click.IntRange(1), default=20, show_default=True)
def history(out: Path, last: int) -> None:
    """List runs, newest first, and say whether the newest got worse."""
    from meshlib.runbook import folders
    from meshlib.runbook import history as past

    folders.close_orphans(out)
    runs = folders.runs(out)
    for folder, manifest in runs[:last]:
        reason = f"  {manifest.reason}" if manifest.reason else ""
        click.echo(f"{folder.name}  {manifest.outcome:16} {manifest.duration_s:7.1f} s{reason}")
    if runs and (found := past.regression(runs, runs[0][1].parameters_digest)):
        click.echo(f"{found.title}{': ' if found.reason else ''}{found.reason}")
    if runs:
        past.write(out)
    else:
        click.echo(f"there is no run in {out}")


@click.command()
@click.option("--out", type=_PATH, default=OUTPUTS, show_default=True)
@click.option("--keep", type=click.IntRange(1), required=True, help="How many of the newest runs stay.")
def prune(out: Path, keep: int) -> None:
    """Delete old runs; the latest one and running ones stay."""
    from meshlib.runbook import folders
    from meshlib.runbook import history as past

    gone = folders.prune(out, keep)
    for folder in gone:
        click.echo(f"deleted {folder}")
    if not gone:
        click.echo(f"there is no run to delete in {out}")
    if out.is_dir():
        past.write(out)


@click.command()
@click.argument("kind", type=click.Choice(["cron", "systemd", "cronjob", "github"]))
@click.option("--parameters", "parameters_file", type=_PATH, required=True, help="File of parameters (YAML).")
@click.option("--at", default="06:17", show_default=True, metavar="HH:MM", help="When, every day.")
@click.option("--zone", default="Etc/UTC", show_default=True, help="Time zone.")
@click.option("--image", default="meshlib:latest", show_default=True, help="Image for a CronJob.")
@click.option("--keep", type=click.IntRange(1), default=30, show_default=True, help="Runs to keep.")
def schedule(kind: str, parameters_file: Path, at: str, zone: str, image: str, keep: int) -> None:
    """Print a ready file that runs the runbook every day."""
    from meshlib.runbook import planned

    click.echo(planned.text(kind, parameters_file.resolve(), at, zone=zone, image=image, keep=keep), nl=False)
