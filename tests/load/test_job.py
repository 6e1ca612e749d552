"""A plan as an indexed Job: its objects, and one result from the logs of its pods."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from meshlib.errors import MeshlibError, Unsupported
from meshlib.load import job
from meshlib.load.engine import Outcome
from meshlib.load.plan import Plan, Request, Step


def plan(**changes: Any) -> Plan:
    given = {"requests": (Request("http://a.test/"),), "workers": 2, **changes}
    return Plan(**given)


def report(index: int, latencies_us: list[float], late_s: float = 0.0) -> job.Report:
    outcome = Outcome(prefix="0" * 16, requests=len(latencies_us), statuses={"200": len(latencies_us)})
    outcome.histogram.add(np.array(latencies_us))
    outcome.last_end_ns = 10**9
    return job.Report(index, late_s, outcome)


def test_the_job_has_a_pod_a_worker_and_no_secret_without_a_client_certificate(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("PEM")
    made = job.job(plan(cacert=str(ca)), "n", "web", "meshlib:1", limit_s=60)
    spec = made["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    pod = spec["template"]["spec"]
    assert [next(iter(source)) for source in pod["volumes"][0]["projected"]["sources"]] == [
        "configMap",
        "downwardAPI",
    ]
    made["metadata"]["uid"] = "u"
    [config] = job.belongings(plan(cacert=str(ca)), made)
    assert config["data"][job.CACERT] == "PEM"
    assert config["metadata"]["ownerReferences"][0]["uid"] == "u"
    moved = job.with_files_in(msgspec.json.decode(config["data"][job.PLAN], type=Plan), Path("/f"))
    assert (moved.cacert, moved.cert) == ("/f/cacert.pem", None)


def test_a_client_certificate_goes_into_a_secret_only(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text(f"THE {name}")
    mine = plan(cert=str(tmp_path / "cert"), key=str(tmp_path / "key"))
    made = job.job(mine, "n", "web", "i", limit_s=60)
    config, secret = job.belongings(mine, {**made, "metadata": {**made["metadata"], "uid": "u"}})
    assert secret["stringData"] == {"cert.pem": "THE cert", "key.pem": "THE key"}
    assert "THE key" not in str(config) + str(made)


def test_a_plan_that_no_config_map_can_hold_is_refused() -> None:
    [found] = job.findings(plan(requests=(Request("http://a.test/", "POST", body=b"x" * 800_000),)))
    assert "a ConfigMap takes 900,000" in found
    assert job.findings(plan()) == []


def test_reports_become_one_result_with_the_percentiles_of_all() -> None:
    log = "something else\n" + job.line(report(0, [1000.0] * 99)) + "\n"
    first = job.report_of(log)
    assert first is not None
    found = job.result(plan(), [first, report(1, [9000.0], late_s=1.5)])
    assert (found.numbers.requests, found.numbers.statuses) == (100, {"200": 100})
    assert found.numbers.latency_ms["p50"] == pytest.approx(1.0, rel=0.01)
    assert found.numbers.latency_ms["max"] == 9.0
    assert found.numbers.warnings == ("worker 1 began 1.50 s late",)
    with pytest.raises(Unsupported, match="not their requests"):
        _ = found.requests
    with pytest.raises(MeshlibError, match="no report of worker 1 of 2"):
        job.result(plan(), [first])
    assert job.report_of("Traceback …") is None


def test_annotations_as_the_downward_api_writes_them() -> None:
    text = 'a="1"\nmeshlib.dev/start-at="12.5"\nz="2"'
    assert job.annotation(text, job.START_AT) == "12.5"
    assert job.annotation(text, job.STOP) is None


def test_a_worker_waits_for_its_start_and_ends_when_told(server: Any, tmp_path: Path) -> None:
    mine = plan(requests=(Request(server.url + "/"),), steps=(Step(50, 60.0),), connections=2)
    (tmp_path / job.PLAN).write_bytes(msgspec.json.encode(mine))
    (tmp_path / job.ANNOTATIONS).write_text('other="1"')
    argv = [sys.executable, "-m", "meshlib.load.worker", str(tmp_path)]
    environment = {**os.environ, job.INDEX: "1"}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(1.0)
        assert server.heads == []
        _rename_to(tmp_path / job.ANNOTATIONS, f'{job.START_AT}="{time.time() + 0.2:.3f}"')
        deadline = time.monotonic() + 30
        while len(server.heads) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        _rename_to(tmp_path / job.ANNOTATIONS, f'{job.START_AT}="1"\n{job.STOP}="asked"')
        text, _ = process.communicate(timeout=30)
    found = job.report_of(text)
    assert found is not None
    assert found.index == 1
    assert found.outcome.interrupted
    assert found.outcome.requests >= 5


def _rename_to(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
