"""The whole runbook on a cluster with an Istio of somebody else, as a CronJob's account runs it there.

The cluster is an embedded lab that is reached through its kubeconfig alone (target `kubeconfig`); the account
has the rights that `meshlib schedule cronjob` prints, and the API server enforces them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshlib import parameters
from meshlib.istio import install, manifest, needs
from meshlib.kube.client import Cluster
from meshlib.kube.requests import REVIEWS
from meshlib.runbook import notebooks
from meshlib.runbook.state import KINDS

ROOT = Path(__file__).parents[2]
STEPS = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
LIMIT_S = 900
BY_CONTROLLERS = {  # ConfigMaps that Kubernetes and istiod make wherever they run
    *("kube-root-ca.crt", "istio-ca-root-cert", "istio-leader", "istio-gateway-status-leader"),
    "istio-namespace-controller-election",
}

LOW_PORTS = False  # so the ingress has no address here, as on kind or for an ordinary user

pytestmark = [pytest.mark.e2e, pytest.mark.lab, pytest.mark.timeout(LIMIT_S + 120)]


@dataclass(frozen=True)
class Run:
    """A finished run: exit code, what it printed, its folder, and the cluster before and after."""

    code: int
    printed: str
    folder: Path
    before: list[str]
    mesh_before: dict[str, Any]

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def asked(self) -> set[needs.Right]:
        """(verb, resource, namespace) of all requests of the notebooks, without reviews."""
        lines = [
            json.loads(line)
            for step in STEPS
            for line in (self.folder / "requests" / f"{step}.jsonl").read_text().splitlines()
        ]
        found = {(call["verb"], call["resource"], call["namespace"]) for call in lines}
        return {each for each in found if each[1] not in REVIEWS}


def meaning(obj: dict[str, Any]) -> dict[str, Any]:
    """A ConfigMap without what every write changes."""
    meta = {key: obj["metadata"].get(key) or {} for key in ("labels", "annotations")}
    return {**meta, "data": obj["data"]}


def somebody_elses_istio(admin: Cluster) -> None:
    for obj in manifest.objects("1.30.5", "istio-system"):
        admin.apply(obj, manager="somebody-else")
    install.settle(admin, parameters.complete({}))


@pytest.fixture(scope="module")
def run(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    admin = lab.admin()
    somebody_elses_istio(admin)
    file = lab.account(folder)
    before, mesh_before = lab.listing(), admin.get("configmaps", "istio", "istio-system")
    command = [sys.executable, "-m", "meshlib.cli", "run", "--parameters", str(file)]
    environ = {name: value for name, value in os.environ.items() if name != "MESHLIB_HOME"}
    done = subprocess.run(
        [*command, "--out", str(folder / "out")],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout + done.stderr, folder / "out" / "latest", before, mesh_before)


def test_it_ends_well(run: Run) -> None:
    assert run.code == 0, run.printed


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv, which takes a right from root, is missing")
def test_the_ingress_had_no_address(run: Run) -> None:
    services = {row["Name"]: row["External-IP"] for row in run.table("14_diagnose-symptom-06")}
    assert services["istio-ingressgateway"] == "<pending>"


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


def test_the_printed_rights_are_enough_and_not_more(run: Run) -> None:
    granted = set(needs.rights(parameters.complete({}), kept=True))
    spaces = ("istio-system", "httpserver-istio")
    asked = run.asked() | {("list", kind, space) for kind in KINDS for space in spaces}  # the runner's own
    # server-side apply is authorized as create too, where the object is not there yet
    asked |= {("create", kind, space) for verb, kind, space in asked if verb == "patch" and space}
    everywhere = {(verb, kind, "") for verb, kind, _ in asked}
    assert {each for each in asked if not {each, (*each[:2], "")} & granted} == set()
    assert granted - asked - everywhere == set()


def test_the_cluster_is_as_it_was(run: Run, lab: Any) -> None:
    assert lab.listing() == run.before
    mesh = lab.admin().get("configmaps", "istio", "istio-system")
    assert meaning(mesh) == meaning(run.mesh_before)


def test_each_step_changed_what_it_declares_and_nothing_else(run: Run) -> None:
    manifest = run.read("manifest.json")
    found = manifest["steps"][0]["state_before"]  # Istio, which the steps do not make here
    before = {f"{kind} {name}" for kind, names in found.items() for name in names}
    declared: set[str] = set()
    for step, entry in zip(notebooks.discover(ROOT / "notebooks"), manifest["steps"], strict=True):
        words = [change.split(" ") for change in step.changed(manifest["parameters"])]
        named = {" ".join(each) for each in words if len(each) == 2 and each[0] in KINDS} - before
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


def test_no_process_of_the_run_is_left(run: Run) -> None:
    name = run.folder.resolve().name
    running = [each.info for each in psutil.process_iter(["pid", "cmdline", "environ"])]
    assert [i for i in running if name in str(i["cmdline"]) or name in str(i["environ"])] == []
