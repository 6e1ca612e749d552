"""Runs that are killed between two writes, all their processes at once, as a machine that loses power does.

The gate before the API server lets a number of writes pass and then holds every request, so that each kill
comes at the same point of the run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshlib import parameters
from meshlib.istio import needs
from meshlib.kube import journal
from meshlib.kube.requests import REVIEWS

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
PUBLISHED = ("00", "01", "02", "03", "04", "05")

pytestmark = [pytest.mark.e2e, pytest.mark.lab, pytest.mark.timeout(1800)]


@dataclass
class Runs:
    """Runs of one runbook on one lab, one after the other."""

    lab: Any
    gate: Any
    folder: Path

    def _start(self, steps: tuple[str, ...]) -> subprocess.Popen[bytes]:
        chosen = [word for step in steps for word in ("--only", step)]
        file = self.lab.parameters(self.folder / "parameters.yaml", kubeconfig=str(self.gate.kubeconfig))
        command = [sys.executable, "-m", "meshlib", "run", "--no-html", "--out", self.folder / "out"]
        with (self.folder / "printed").open("wb") as printed:
            return subprocess.Popen([*command, "--parameters", file, *chosen], cwd=ROOT, stderr=printed)

    def killed(self, *steps: str, before: str, times: int = 1) -> None:
        """Run `steps` and kill everything right before a write (`Gate.open`)."""
        self.gate.open(before, times)
        run = self._start(steps)
        until(lambda: self.gate.closed.is_set() or run.poll() is not None)
        assert run.poll() is None, self.printed()
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        for each in processes:
            if each.is_running():
                each.kill()
        psutil.wait_procs(processes, timeout=30)
        run.wait(30)

    def completed(self, *steps: str) -> None:
        """Run `steps` to the end, which must be good, and look what it asked for."""
        self.gate.open()
        assert self._start(steps).wait(LIMIT_S) == 0, self.printed()
        asked = {call for _, call in journal.read(self.folder / "out" / "latest")}
        table = set(needs.rights(parameters.complete({}), method="manifest"))
        known = [{(call.verb, call.resource, place) for place in (call.namespace, "")} for call in asked]
        assert [ways for ways in known if not ways & table and next(iter(ways))[1] not in REVIEWS] == []

    def printed(self) -> str:
        return (self.folder / "printed").read_text()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT_S} s"
        time.sleep(0.05)


@pytest.fixture
def runs(lab: Any, gate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.delenv("MESHLIB_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    return Runs(lab, gate, tmp_path)


def test_after_each_kill_the_next_run_completes_and_cleanup_leaves_nothing(lab: Any, runs: Runs) -> None:
    found = lab.listing()

    # while Istio comes: the control plane is there, its webhooks are not yet
    runs.killed("00", "01", before="patch serviceaccounts istio-system/istiod")
    runs.killed("00", "01", before="patch services istio-system/istio-ingressgateway")
    # a certificate without its CA beside it, then a Deployment with an image that does not exist
    runs.killed("00", "01", "02", "03", before="patch configmaps httpserver-istio/")
    runs.killed("03", "04", before="patch deployments.apps httpserver-istio/", times=3)
    runs.killed("00", "04", "05", before="patch virtualservices.networking.istio.io")
    # the mesh configuration in states that no notebook leaves
    runs.killed("05", "06", "07", before="patch configmaps istio-system/istio", times=2)
    runs.killed("07", "14", before="patch virtualservices.networking.istio.io")
    # temporary objects of a lesson, with nobody left who would delete them
    runs.killed("00", "11", before="patch authorizationpolicies.security.istio.io")
    # while Istio goes: its webhooks are there, the control plane is not
    runs.killed("00", "90", before="delete configmaps istio-system/istio-sidecar-injector")

    runs.completed("00", "01", "02", "03", "04", "05")
    # hardly anything is left that tells whose Istio this was
    runs.killed("90", before="delete configmaps kube-system/istio-ca-root-cert")
    runs.completed("90")
    until(lambda: lab.listing() == found)
