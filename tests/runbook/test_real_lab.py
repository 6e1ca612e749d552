"""The runner on real labs: runs side by side, killed and stopped ones, one resumed, Envoy killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from meshlib.kube.client import connect
from meshlib.lab import cluster
from meshlib.runbook import folders, locks, record

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.e2e, pytest.mark.lab]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MESHLIB_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "outputs"


def start(out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "meshlib", "run", "--out", out, "--no-html", *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=dict(os.environ))


def only(*numbers: str) -> list[str]:
    return [word for number in numbers for word in ("--only", number)]


def latest(out: Path) -> record.Manifest:
    return record.load(out / "latest" / "manifest.json", record.Manifest)


def manifests(out: Path) -> list[record.Manifest]:
    return [manifest for _, manifest in folders.runs(out)]


def outcomes(manifest: record.Manifest) -> dict[str, str]:
    return {step.name[:2]: step.outcome for step in manifest.steps if step.outcome != "not-run"}


def until(holds: Callable[[], object], timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)


def processes_of(manifest: record.Manifest) -> list[str]:
    """What still runs of a run: kernels and the processes of its lab."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        words = [*(process.info["cmdline"] or []), environ.get("MESHLIB_RUN_DIR", ""), *environ.values()]
        if any(manifest.target.home in word or manifest.run_id in word for word in words):
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def nothing_left(out: Path, manifest: record.Manifest) -> None:
    until(lambda: not processes_of(manifest), 30)
    assert not Path(manifest.target.home).exists()
    assert not list(out.glob(".latest-*"))
    assert not list(out.glob("2*/.reserve"))
    locks.acquire(manifest.target.home, "the test").close()


def test_two_private_runs_at_once_do_not_meet(out: Path) -> None:
    runs = [start(out, *only("00", "01")) for _ in range(2)]
    assert [run.wait(200) for run in runs] == [0, 0]
    one, two = manifests(out)
    assert one.target.home != two.target.home
    assert one.target.server != two.target.server
    assert outcomes(one)["01"] == outcomes(two)["01"] == "passed"
    assert latest(out).run_id in (one.run_id, two.run_id)
    for manifest in (one, two):
        nothing_left(out, manifest)


@pytest.mark.parametrize(
    ("number", "code", "outcome"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGKILL, -9, "killed")]
)
def test_a_run_that_is_ended_takes_its_lab_along(
    out: Path, number: signal.Signals, code: int, outcome: str
) -> None:
    run = start(out, *only("00", "01"))
    until(lambda: any(outcomes(m).get("00") == "passed" for m in manifests(out)))
    (before,) = manifests(out)
    assert processes_of(before)
    run.send_signal(number)
    assert run.wait(60) == code
    until(lambda: manifests(out)[0].outcome != "running", 30)
    (manifest,) = manifests(out)
    assert (manifest.outcome, outcomes(manifest)["00"]) == (outcome, "passed")
    until(lambda: not Path(manifest.target.home).exists(), 30)
    nothing_left(out, manifest)
    assert (out / "latest").exists() == (number != signal.SIGKILL)


def test_a_run_goes_on_where_the_lab_still_shows_what_was_done_and_outlives_envoy(out: Path) -> None:
    assert start(out, "--keep-lab", *only("00", "01", "02", "03")).wait(200) == 0
    home = Path(latest(out).target.home)
    assert latest(out).target.kept
    try:
        assert start(out, "--resume", "latest", *only("00", "01", "02", "03", "04")).wait(200) == 0
        first = latest(out)
        assert [outcomes(first)[each] for each in ("00", "03", "04")] == ["skipped", "skipped", "passed"]
        lab = connect(home / "kubeconfig", "")
        lab.delete("secrets", "gohttpserver-credential", "istio-system")
        envoy = gateway_envoy(home)
        os.kill(envoy, signal.SIGKILL)
        run = start(out, "--resume", first.run_id, *only("00", "01", "02", "03", "04", "05"))
        assert run.wait(300) == 0
        ended = outcomes(latest(out))
        assert [ended[each] for each in ("02", "03", "04", "05")] == ["skipped", "passed", "passed", "passed"]
        assert gateway_envoy(home) != envoy
    finally:
        cluster.stop(home)
        shutil.rmtree(home)


def test_a_gateway_killed_under_load_is_restarted_and_the_run_tells(out: Path) -> None:
    until_07 = ("00", "01", "02", "03", "04", "05", "06", "07")
    assert start(out, "--keep-lab", *only(*until_07)).wait(400) == 0
    home = Path(latest(out).target.home)
    try:
        envoy = gateway_envoy(home)
        values = ("-p", "timeout_s=20", "-p", "load_duration_s=15")
        run = start(out, "--resume", "latest", *values, *only(*until_07, "08"))
        until(lambda: list(out.glob("2*/tables/08_*-ten-requests-again.csv")))  # the load comes next
        time.sleep(3)
        os.kill(envoy, signal.SIGKILL)
        assert run.wait(400) == 4
        manifest = latest(out)
        assert (manifest.outcome, outcomes(manifest)["08"]) == ("check-failed", "check-failed")
        assert "failed requests" in manifest.reason
        assert restarts(home) == (1, 137)
        assert gateway_envoy(home) != envoy
        assert start(out, "--resume", "latest", *only(*until_07, "08")).wait(400) == 0
        ended = outcomes(latest(out))
        assert (ended["07"], ended["08"]) == ("skipped", "passed")
        assert restarts(home) == (1, 137)
    finally:
        cluster.stop(home)
        shutil.rmtree(home)
    nothing_left(out, latest(out))


def restarts(home: Path) -> tuple[int, int]:
    """Of the ingress gateway's proxy: the column RESTARTS, and the exit code of the last one that ended."""
    lab = connect(home / "kubeconfig", "")
    (pod,) = lab.list("pods", "istio-system", labels="app=istio-ingressgateway")
    (status,) = pod["status"]["containerStatuses"]
    return status["restartCount"], status["lastState"]["terminated"]["exitCode"]


def gateway_envoy(home: Path) -> int:
    """The process of the ingress gateway's Envoy."""
    lab = connect(home / "kubeconfig", "")
    (pod,) = lab.list("pods", "istio-system", labels="app=istio-ingressgateway")
    folder = str(home / "xds" / pod["metadata"]["uid"])
    (found,) = [
        process.pid
        for process in psutil.process_iter(["cmdline", "name"])
        if any(folder in word for word in process.info["cmdline"] or []) and "envoy" in process.info["name"]
    ]
    return found
