"""istioctl at the wire: an executable that refuses what the real one does not know, and a mirror that serves
it."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from platform import machine, system

import pytest

from meshlib import parameters
from meshlib.errors import ClusterError, PreflightError
from meshlib.istio import install, tools
from meshlib.kube.client import Cluster

VERSION = "1.30.5"
CLUSTER = Cluster(None, "https://127.0.0.1:6443", "kind-lab", Path("/tmp/kubeconfig"))
FAKE = f"""#!/bin/sh
command=$1; shift
while [ $# -gt 0 ]; do
  case $command:$1 in
    version:--remote=false|install:--skip-confirmation|install:-y) shift ;;
    install:--kubeconfig|install:--context|install:--set|install:--readiness-timeout) shift 2 ;;
    *) echo "Error: unknown flag: $1" >&2; exit 1 ;;
  esac
done
case $command in
  version) echo "client version: {VERSION}" ;;
  install) echo "✔ Istio core installed"; echo "✔ Istiod installed" ;;
  *) echo "Error: unknown command" >&2; exit 1 ;;
esac
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    folder = tmp_path / "mirror" / VERSION
    folder.mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as files:
        entry = tarfile.TarInfo("istioctl")
        entry.size, entry.mode = len(FAKE.encode()), 0o755
        files.addfile(entry, io.BytesIO(FAKE.encode()))
    path = folder / tools.archive(VERSION, system(), machine())
    path.write_bytes(packed.getvalue())
    checksum = hashlib.sha256(packed.getvalue()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{checksum}  {path.name}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "mirror"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", path
        server.shutdown()


def test_it_is_fetched_once_and_runs_the_plan(mirror: tuple[str, Path]) -> None:
    url, packed = mirror
    cfg = parameters.complete({"istio_version": VERSION, "istio_mirror": url})
    program = tools.istioctl(cfg)
    packed.unlink()
    assert tools.istioctl(cfg) == program
    said: list[str] = []
    done = tools.run(install.istioctl_plan(CLUSTER, cfg, program), said.append)
    assert said == ["✔ Istio core installed", "✔ Istiod installed"]
    assert done["Output"].tolist() == ["\n".join(said)]


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(mirror: tuple[str, Path]) -> None:
    url, packed = mirror
    packed.write_bytes(packed.read_bytes() + b"more")
    with pytest.raises(PreflightError, match="it is not used"):
        tools.istioctl(parameters.complete({"istio_version": VERSION, "istio_mirror": url}))
    assert not list(tools.cache().glob("*"))


def test_one_on_path_serves_only_in_the_wanted_version(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = mirror
    mine = tmp_path / "istioctl"
    mine.write_text(FAKE)
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    cfg = {"istio_version": VERSION, "istio_mirror": url}
    assert tools.istioctl(parameters.complete(cfg)) == str(mine)
    with pytest.raises(PreflightError, match="404"):
        tools.istioctl(parameters.complete({**cfg, "istio_version": "1.29.8"}))


def test_a_failing_command_ends_the_plan_with_its_last_words(mirror: tuple[str, Path]) -> None:
    program = tools.istioctl(parameters.complete({"istio_version": VERSION, "istio_mirror": mirror[0]}))
    with pytest.raises(ClusterError, match="unknown flag: --force"):
        tools.run([[program, "install", "--force"], [program, "install", "-y"]], lambda line: None)


def test_a_missing_program_is_a_need() -> None:
    with pytest.raises(PreflightError, match="is not on PATH"):
        tools.run([["no-such-program-of-meshlib"]])


@pytest.mark.parametrize(
    ("system", "machine", "end"), [("Linux", "x86_64", "linux-amd64"), ("Darwin", "arm64", "osx-arm64")]
)
def test_archives_by_platform(system: str, machine: str, end: str) -> None:
    assert tools.archive(VERSION, system, machine) == f"istioctl-{VERSION}-{end}.tar.gz"
