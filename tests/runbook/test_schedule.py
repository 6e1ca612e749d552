"""The ready files are accepted by the tools that they are for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from meshlib.errors import ParameterError
from meshlib.runbook import planned, strict_yaml


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text('target: "kubeconfig"\ncontext: "prod"\nconfirm_context: "prod"\ndeadline_s: 600\n'
                    'webhook_url_env: "HOOK"\n')  # fmt: skip
    return path


def text(kind: str, parameters: Path, at: str = "06:17", zone: str = "Etc/UTC") -> str:
    return planned.text(kind, parameters, at, zone=zone, image="registry.example.org/meshlib:1", keep=30)


def test_systemd_accepts_the_units(parameters: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    parts = text("systemd", parameters).split("# --- ")[1:]
    for part in parts:
        name, _, unit = part.partition("\n")
        (tmp_path / name).write_text(unit)
    units = sorted(str(p) for p in tmp_path.glob("meshlib*"))
    for unit in tmp_path.glob("*.service"):  # the program need not be installed where the test runs
        unit.write_text(
            re.sub(r"^(ExecStart|ExecStopPost)=.*$", r"\1=/bin/true", unit.read_text(), flags=re.M)
        )
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    mine = [line for line in done.stderr.splitlines() if "meshlib" in line]
    assert (done.returncode, mine) == (0, [])
    when = subprocess.run(
        ["systemd-analyze", "calendar", "*-*-* 06:17:00 Etc/UTC"], capture_output=True, text=True, check=False
    )
    assert when.returncode == 0, when.stderr


def test_the_cronjob_is_valid_and_never_runs_twice_at_once(parameters: Path) -> None:
    objects = list(yaml.safe_load_all(text("cronjob", parameters)))
    for obj in objects:
        kubernetes_validate.validate(obj, "1.36", strict=True)
    (job,) = [obj for obj in objects if obj["kind"] == "CronJob"]
    spec = job["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 720
    (config,) = [obj for obj in objects if obj["kind"] == "ConfigMap"]
    values, found = strict_yaml.parse(config["data"]["parameters.yaml"], "in the ConfigMap")
    assert (found, values["context"], values["webhook_url_env"]) == ([], "in-cluster", "HOOK")


def test_a_cronjob_that_only_reads_may_only_read(parameters: Path) -> None:
    parameters.write_text('target: "kubeconfig"\ncontext: "prod"\nread_only: true\n')
    objects = list(yaml.safe_load_all(text("cronjob", parameters)))
    verbs = {v for obj in objects for rule in obj.get("rules", []) for v in rule["verbs"]}
    assert verbs == {"get", "list", "create"}  # create: only reviews of its own rights
    creates = [r for o in objects for r in o.get("rules", []) if "create" in r["verbs"]]
    assert [r["resources"] for r in creates] == [["selfsubjectreviews"], ["selfsubjectaccessreviews"]]


def test_the_crontab_line_is_one_line_whose_shell_parses(parameters: Path) -> None:
    zone, line = text("cron", parameters).rstrip("\n").split("\n")
    assert zone == "CRON_TZ=Etc/UTC"
    assert line.startswith("17 6 * * * flock -n ")
    command = line.split(" ", 5)[5].replace("\\%", "%")
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_workflow_keeps_the_record_of_a_failed_run(parameters: Path) -> None:
    flow = yaml.safe_load(text("github", parameters))
    steps = flow["jobs"]["run"]["steps"]
    assert steps[-1]["if"] == "always()"
    assert flow[True]["schedule"] == [{"cron": "17 6 * * *"}]  # YAML 1.1 reads the key `on` as true


def test_everything_wrong_is_said_at_once(parameters: Path) -> None:
    parameters.write_text("replcas: 3\n")
    with pytest.raises(ParameterError) as caught:
        text("cron", parameters, at="25:00", zone="Mars/Base")
    assert len(caught.value.findings) == 3
