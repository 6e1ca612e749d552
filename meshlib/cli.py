"""The command `meshlib`: a root that imports a room only when one of its commands is called."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from meshlib import __version__, examples
from meshlib.errors import MeshlibError
from meshlib.home import lab_kubeconfig

INTERRUPTED = 130
# command → (module, attribute, what `meshlib --help` says about it without importing the module)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("meshlib.runbook.commands", "run", "Run the notebooks and write the record and the report."),
    "report": ("meshlib.runbook.commands", "report", "Write the pages of a run again."),
    "history": ("meshlib.runbook.commands", "history", "List runs; say whether the newest got worse."),
    "schedule": ("meshlib.runbook.commands", "schedule", "Print a ready file that runs it every day."),
    "prune": ("meshlib.runbook.commands", "prune", "Delete old runs."),
    "parameters": ("meshlib.runbook.commands", "parameters", "Show every parameter."),
    "lab": ("meshlib.runbook.teaching", "lab", "Start, stop, look at and walk through the embedded lab."),
    "diagnose": ("meshlib.istio.commands", "diagnose", "Say what is wrong with the ingress, and the fix."),
    "load": ("meshlib.load.commands", "load", "Send a measured load to the ingress."),
    "traces": ("meshlib.traces.commands", "traces", "Read traces and show where the time goes."),
}


class LazyGroup(click.Group):
    """Looks commands up in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        command.epilog = examples.text(cmd_name)
        for name, each in command.commands.items() if isinstance(command, click.Group) else ():
            each.epilog = examples.text(f"{cmd_name} {name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meshlib")
@click.pass_context
def root(ctx: click.Context) -> None:
    """An Istio ingress lab that runs in a minute, and a runbook that operators can schedule."""
    ctx.obj = {"jaeger": jaeger, "job": load_job}


def jaeger(kubeconfig: str | None, context: str | None) -> object:
    """Jaeger's HTTP through a cluster's API server, for `traces`, which knows no cluster itself."""
    client = importlib.import_module("meshlib.kube.client")
    proxy = importlib.import_module("meshlib.kube.proxy")
    addon = importlib.import_module("meshlib.istio.jaeger")
    file = Path(kubeconfig) if kubeconfig else lab_kubeconfig()
    cluster = client.connect(file, context or "", read_only=True)
    return proxy.ServiceProxy(cluster, "istio-system", addon.QUERY_SERVICE, addon.QUERY_PORT)


def load_job(kubeconfig: str | None, context: str | None, namespace: str, image: str | None) -> object:
    """Where `load --job` runs its plan, for `load`, which knows no cluster itself."""
    client = importlib.import_module("meshlib.kube.client")
    module = importlib.import_module("meshlib.istio.load_job")
    file = Path(kubeconfig) if kubeconfig else lab_kubeconfig()
    return module.LoadJob(client.connect(file, context or ""), namespace, image or module.IMAGE)


def main() -> None:
    """The console script.  What goes wrong is a message and an exit code; a traceback is a defect of ours."""
    try:
        code = root.main(prog_name="meshlib", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except MeshlibError as error:
        sys.exit(_told(str(error), error.exit_code))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        stopped = isinstance(error.__cause__, KeyboardInterrupt)
        sys.exit(_told("interrupted", INTERRUPTED) if stopped else _told("nothing was done", 1))
    except BrokenPipeError:  # who read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_told(f"{where}{error.strerror or error}", 1))


def _told(message: str, code: int) -> int:
    click.echo(f"meshlib: {message}", err=True)
    return code


if __name__ == "__main__":
    main()
