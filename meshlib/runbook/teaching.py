"""The commands of `meshlib lab` that know the notebooks: JupyterLab on the start page, and checkpoints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from meshlib.errors import LabError, ParameterError
from meshlib.home import ENV, lab_home
from meshlib.lab import cluster
from meshlib.lab.commands import HOME, lab

NEWS = {"@jupyterlab/apputils-extension:announcements": True}  # it asks every new user, and asks a server
IPC = ["--KernelManager.transport=ipc"]  # over TCP each kernel warns that others on this machine can listen
SOCKET_NAME = len("/kernel-00000000-0000-0000-0000-000000000000-ipc-4")
LONGEST_SOCKET = 103  # macOS; Linux takes 107

NOTEBOOKS = click.option(
    "--notebooks",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("notebooks"),
    show_default=True,
)


@lab.command(context_settings={"ignore_unknown_options": True})
@HOME
@NOTEBOOKS
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[JUPYTERLAB'S OWN]...")
def jupyter(home: Path | None, notebooks: Path, arguments: tuple[str, ...]) -> None:
    """Bring the lab up and open JupyterLab on the start page."""
    from jupyter_core.paths import jupyter_runtime_dir

    from meshlib.runbook import startpage

    folder = (home or lab_home()).resolve()
    cluster.start(folder)
    os.environ[ENV] = str(folder)
    page = startpage.write(notebooks.resolve())
    own = folder / "jupyter"
    (own / "labconfig").mkdir(parents=True, exist_ok=True)
    (own / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": NEWS}))
    searched = [str(own), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(searched)
    quiet = "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
    root = ["--allow-root"] if os.geteuid() == 0 else []
    transport = IPC if len(jupyter_runtime_dir()) + SOCKET_NAME <= LONGEST_SOCKET else []
    command = [sys.executable, "-m", "jupyterlab", str(page), quiet, *transport, *root, *arguments]
    os.execv(sys.executable, command)


@lab.command()
@HOME
@NOTEBOOKS
@click.argument("step", required=False)
@click.option("--after", is_flag=True, help="With this step done, too.")
@click.option("--list", "list_only", is_flag=True, help="List the steps and how far the lab is.")
@click.option(
    "--parameters",
    "parameters_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File of parameters (YAML) for the steps that run.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def checkpoint(
    home: Path | None,
    notebooks: Path,
    step: str | None,
    after: bool,
    list_only: bool,
    parameters_file: Path | None,
    yes: bool,
) -> None:
    """Bring the lab to where STEP (such as 05) begins: forget every object, then run the steps before it."""
    folder = (home or lab_home()).resolve()
    os.environ[ENV] = str(folder)
    from meshlib.runbook import lessons, locks, nursery

    if list_only or step is None:
        click.echo(repr(lessons.look(notebooks.resolve())))
        return
    nursery.start()
    from meshlib.runbook import run as runs
    from meshlib.runbook.notebooks import discover, select

    steps = discover(notebooks.resolve())
    (wanted,) = select(steps, [step], None)
    before = [each.name for each in steps if each.name < wanted.name or (after and each is wanted)]
    request = runs.Request(
        notebooks=notebooks.resolve(),
        out=folder / "checkpoints",
        parameters_file=parameters_file,
        only=before,
        html=False,
    )
    values, findings = runs.values_of(request)
    if findings:
        raise ParameterError(findings, fix="meshlib parameters")
    if values["target"] != "embedded":
        raise LabError("a checkpoint forgets every object, so it is for the embedded lab only")
    if not yes and folder.exists():
        click.confirm(f"forget every object of the lab of {folder}?", abort=True)
    with locks.acquire(str(folder), f"checkpoint {step}"):
        cluster.forget(folder)
        cluster.start(folder)
    sys.exit(runs.run(request) if before else 0)
