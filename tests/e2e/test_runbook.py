"""The whole runbook as `make run` runs it: every notebook, headless, on a cluster of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshlib import parameters
from meshlib.istio import needs
from meshlib.kube.requests import REVIEWS
from meshlib.runbook import notebooks, state

ROOT = Path(__file__).parents[2]
STEPS = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
LIMIT_S = 900
BY_CONTROLLERS = {  # ConfigMaps that Kubernetes and istiod make wherever they run
    *("kube-root-ca.crt", "istio-ca-root-cert", "istio-leader", "istio-gateway-status-leader"),
    "istio-namespace-controller-election",
}

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LIMIT_S + 60)]


@dataclass(frozen=True)
class Run:
    """A finished run: exit code, what it printed, and its folder."""

    code: int
    printed: str
    folder: Path

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("outputs")
    command = [sys.executable, "-m", "meshlib.cli", "run", "--parameters", "parameters/embedded.yaml"]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    return Run(done.returncode, done.stdout + done.stderr, out / "latest")


def test_it_ends_well(run: Run) -> None:
    assert run.code == 0, run.printed


def test_every_step_passed_and_every_check_is_good(run: Run) -> None:
    manifest, checks = run.read("manifest.json"), run.read("results.json")["checks"]
    assert {step["name"]: step["outcome"] for step in manifest["steps"]} == dict.fromkeys(STEPS, "passed")
    assert [check for check in checks if check["verdict"] == "fail"] == []
    assert {check["step"] for check in checks} == set(STEPS)


def test_one_request_has_the_spans_of_a_real_mesh(run: Run) -> None:
    spans = run.table("08_traffic_and_traces-one-trace")
    assert {span["service"] for span in spans} == {
        "istio-ingressgateway.istio-system",
        "gohttpserver.httpserver-istio",
    }


def test_nothing_was_asked_of_the_api_server_that_the_table_of_rights_lacks(run: Run) -> None:
    table = set(needs.rights(parameters.complete({}), method="manifest"))
    asked = {
        (call["verb"], call["resource"], call["namespace"])
        for step in STEPS
        for call in map(json.loads, (run.folder / "requests" / f"{step}.jsonl").read_text().splitlines())
    }
    lacking = {
        (verb, resource, namespace)
        for verb, resource, namespace in asked
        if resource not in REVIEWS and not {(verb, resource, namespace), (verb, resource, "")} & table
    }
    assert lacking == set()


def test_each_step_changed_what_it_declares_and_nothing_else(run: Run) -> None:
    manifest = run.read("manifest.json")
    declared: set[str] = set()
    for step, entry in zip(notebooks.discover(ROOT / "notebooks"), manifest["steps"], strict=True):
        words = [change.split(" ") for change in step.changed(manifest["parameters"])]
        named = {" ".join(each) for each in words if len(each) == 2 and each[0] in state.KINDS}
        lines = [line.partition(" ") for line in entry["state_diff"] if " pods " not in line]
        came = {name for sign, _, name in lines if sign == "+"}
        assert {name for name in came if name.rpartition("/")[2] not in BY_CONTROLLERS} == named, step.name
        gone = {name for sign, _, name in lines if sign == "-"}
        assert gone >= declared if step.number == "90" else not gone, step.name
        declared |= named


def test_the_report_opens_from_disk(run: Run) -> None:
    page = (run.folder / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert all((run.folder / "html" / f"{step}.html").stat().st_size < 3_000_000 for step in STEPS)


def test_no_process_is_left(run: Run) -> None:
    home = run.read("manifest.json")["target"]["home"]
    running = [each.info for each in psutil.process_iter(["pid", "cmdline"])]
    left = [info for info in running if home in str(info["cmdline"])]
    assert left == []
    assert not Path(home).exists()
