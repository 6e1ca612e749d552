"""istioctl and helm as processes: found on PATH or fetched in a pinned version with its checksum, run with
their output shown as it comes."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import requests

from meshlib.errors import ClusterError, PreflightError
from meshlib.parameters import Config

RELEASES = "https://github.com/istio/istio/releases/download"
FETCH_S = 120
LAST_LINES = 20


def istioctl(cfg: Config) -> str:
    """The path of an istioctl of exactly `istio_version`: from PATH, from the cache, else downloaded.

    Raises `PreflightError` when it can be had nowhere or its checksum is not the published one.
    """
    found = shutil.which("istioctl")
    if found and client_version(found) == cfg.istio_version:
        return found
    cached = cache() / f"istioctl-{cfg.istio_version}"
    if not cached.is_file():
        _fetch(cfg, cached)
    return str(cached)


def client_version(path: str) -> str:
    """What `istioctl version --remote=false` says, such as `1.30.5`; "" when it says none."""
    done = subprocess.run(
        [path, "version", "--remote=false"], capture_output=True, text=True, check=False, timeout=30
    )
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return found[0] if found else ""


def cache() -> Path:
    """Where downloads stay: $XDG_CACHE_HOME/meshlib, else ~/.cache/meshlib."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "meshlib"


def archive(version: str, system: str, machine: str) -> str:
    """The name of the published archive for `platform.system()` and `platform.machine()`."""
    os_name = {"Linux": "linux", "Darwin": "osx"}.get(system)
    cpu = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(machine.lower())
    if os_name is None or cpu is None:
        raise PreflightError(
            f"there is no istioctl for {system} on {machine}", fix="set install_method: helm"
        )
    return f"istioctl-{version}-{os_name}-{cpu}.tar.gz"


def _fetch(cfg: Config, target: Path) -> None:
    name = archive(cfg.istio_version, platform.system(), platform.machine())
    url = f"{cfg.istio_mirror.rstrip('/') or RELEASES}/{cfg.istio_version}/{name}"
    packed = _get(url)
    published = _get(f"{url}.sha256").decode().split()
    seen = hashlib.sha256(packed).hexdigest()
    if not published or published[0] != seen:
        raise PreflightError(
            f"{url}: sha256 is {seen}, published is {' '.join(published[:1])}; it is not used",
            fix="set istio_mirror to a mirror that you trust, or put istioctl on PATH",
        )
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        program = files.extractfile("istioctl")
        if program is None:
            raise PreflightError(f"{url} has no file istioctl")
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{os.getpid()}")
        new.write_bytes(program.read())
    new.chmod(0o755)
    new.replace(target)


def _get(url: str) -> bytes:
    try:
        answer = requests.get(url, timeout=FETCH_S)
        answer.raise_for_status()
    except requests.RequestException as cause:
        raise PreflightError(
            f"istioctl cannot be fetched: {cause}", fix="set istio_mirror, or put istioctl on PATH"
        ) from cause
    return bytes(answer.content)


def run(plan: Sequence[Sequence[str]], say: Callable[[str], None] = print) -> pd.DataFrame:
    """Run commands one after the other; each line of output goes to `say` as it comes.

    One row a command (Command, Output).  Raises `PreflightError` for a program that is not there,
    `ClusterError` with the last lines of the first command that fails; the ones after it are not run.
    """
    rows = []
    for command in plan:
        lines: list[str] = []
        try:
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line.rstrip())
                    say(lines[-1])
        except FileNotFoundError as cause:
            raise PreflightError(f"{command[0]} is not on PATH", fix=f"install {command[0]}") from cause
        if process.returncode:
            last = "\n".join(lines[-LAST_LINES:])
            raise ClusterError(f"{' '.join(command)} ended with {process.returncode}: {last}")
        rows.append((" ".join(command), "\n".join(lines)))
    return pd.DataFrame(rows, columns=["Command", "Output"])
