"""The commands `meshlib lab …`."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path

import click

from meshlib.errors import LabError
from meshlib.home import ENV, lab_home
from meshlib.lab import cluster, state

HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The lab's folder; by default ${ENV}, else .lab beside notebooks/.",
)


@click.group()
def lab() -> None:
    """Start, stop, look at and walk through the embedded lab."""


@lab.command()
@HOME
@click.option(
    "--images",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A YAML file that maps further images to programs: `shop: {program: httpserver}`.",
)
@click.option(
    "--kubernetes-version", default=cluster.KUBERNETES_VERSION, show_default=True, help="What /version says."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The API server's port on 127.0.0.1; 0 takes a free one."
)
def up(home: Path | None, images: Path | None, kubernetes_version: str, port: int | None) -> None:
    """Bring the lab up in the background, or say that it is."""
    began = time.monotonic()
    started = cluster.start(
        home or lab_home(), images=images, kubernetes_version=kubernetes_version, port=port
    )
    if not started.fresh:
        click.echo(f"the lab is up already: {started.server}, pid {started.state.pid}")
    else:
        click.echo(f"the lab is up ({time.monotonic() - began:.1f} s)")
    rows = {
        "API server": started.server,
        "Kubernetes": started.state.kubernetes_version,
        "addresses": "127.0.0.1" if started.state.shared_address else f"127.{started.state.subnet}.0.0/16",
        "home": str(started.home),
    }
    for name, value in rows.items():
        click.echo(f"  {name:<11} {value}")
    if started.state.shared_address:
        click.echo("  this platform has only 127.0.0.1: ClusterIPs are names only, node ports work")
    click.echo("next:")
    click.echo(f"  export KUBECONFIG={started.kubeconfig}")
    click.echo("  kubectl get pods -A")
    click.echo("  meshlib run            the notebooks")
    click.echo("  meshlib lab down       stop it; objects stay")


@lab.command()
@HOME
def down(home: Path | None) -> None:
    """Stop the control plane and every process of its pods; the objects stay."""
    folder = home or lab_home()
    click.echo("the lab is down" if cluster.stop(folder) else f"no lab of {folder} was up")


@lab.command()
@HOME
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(home: Path | None, yes: bool) -> None:
    """Stop the lab and remove all of its state."""
    folder = home or lab_home()
    if folder.exists() and not yes:
        click.confirm(f"remove {folder} and every object in it?", abort=True)
    cluster.reset(folder)
    left = f"; {', '.join(state.foreign(folder))} stays" if folder.exists() else ""
    click.echo(f"{'the lab of ' if left else ''}{folder} is gone{left}")


@lab.command()
@HOME
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def status(context: click.Context, home: Path | None, as_json: bool) -> None:
    """Whether the lab is up; exit code 1 when it is not."""
    found = cluster.status(home or lab_home())
    if as_json:
        click.echo(json.dumps({**asdict(found), "home": str(found.home)}, indent=1))
    else:
        rows = {"state": "ready" if found.ready else f"not ready: {found.why}", "home": str(found.home)}
        if found.state is not None:
            rows["API server"] = found.state.server
            rows["Kubernetes"] = found.state.kubernetes_version
            rows["images"] = found.state.images or "the built-in ones"
        if found.memory_bytes:
            rows["pid"] = str(found.state.pid) if found.state else ""
            rows["memory"] = f"{found.memory_bytes / 2**20:.0f} MiB (control plane alone)"
            rows["up for"] = f"{found.uptime_s:.0f} s"
        for name, value in rows.items():
            click.echo(f"{name:<11} {value}")
        if not found.ready:
            click.echo("next: meshlib lab up")
    context.exit(0 if found.ready else 1)


@lab.command()
@HOME
@click.argument("name", default="control-plane")
@click.option(
    "--tail", type=click.IntRange(1), default=100, show_default=True, help="How many of the last lines."
)
def logs(home: Path | None, name: str, tail: int) -> None:
    """Print the control plane's log, or that of a pod (NAME or NAMESPACE/NAME, as far as it is unique)."""
    folder = home or lab_home()
    for path in _log_files(folder, name):
        click.echo(f"==> {path.relative_to(folder)} <==", err=True)
        for line in path.read_text(errors="replace").splitlines()[-tail:]:
            click.echo(line)


def _log_files(folder: Path, name: str) -> list[Path]:
    if name == "control-plane":
        path = folder / cluster.LOG
        if not path.exists():
            raise LabError(f"there is no log in {folder}", fix="meshlib lab up")
        return [path]
    if state.read(folder) is None:
        raise LabError(f"there is no lab in {folder}", fix="meshlib lab up")
    from meshlib.lab.api.store import Store

    namespace, _, pod = name.rpartition("/")
    found = []
    try:
        rows = Store(folder / state.DATABASE).page("pods", namespace or None)
    except sqlite3.Error as error:
        raise LabError(f"{folder / state.DATABASE}: {error}", fix="meshlib lab logs") from error
    for row in rows:
        meta = json.loads(row.body)["metadata"]
        if meta["name"].startswith(pod):
            found += sorted((folder / "pods" / meta["uid"] / "logs").glob("*.log"))
    if not found:
        raise LabError(f"no pod {name!r} with a log", fix="kubectl get pods -A")
    return found


@lab.command()
@HOME
@click.option(
    "--read-only", is_flag=True, help="The credential that can read all but Secrets and write nothing."
)
def kubeconfig(home: Path | None, read_only: bool) -> None:
    """Print the path of the lab's kubeconfig."""
    path = (home or lab_home()) / ("kubeconfig.read-only" if read_only else "kubeconfig")
    if not path.exists():
        raise LabError(f"{path} does not exist", fix="meshlib lab up")
    click.echo(path)
