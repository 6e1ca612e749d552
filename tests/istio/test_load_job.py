"""A load Job in the embedded lab, with real pods; and clusters that cannot run one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from meshlib import wait
from meshlib.errors import Unsupported
from meshlib.istio.load_job import LoadJob, state_of
from meshlib.kube import client
from meshlib.lab import cluster
from meshlib.load import run


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not on the test's output."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[client.Cluster]:
    home = tmp_path / "lab"
    cluster.start(home)
    yield client.connect(home / "kubeconfig")
    cluster.stop(home)


@pytest.mark.lab
def test_pods_share_a_plan_and_leave_nothing(lab: client.Cluster, url: str) -> None:
    where = LoadJob(lab, "default", lead_s=3.0)
    found = run(url, rate=60, duration_s=2.0, connections=4, workers=2, on=where)
    assert len(found.outcomes) == 2
    assert (found.numbers.requests, found.numbers.statuses) == (120, {"200": 120})
    assert [outcome.requests for outcome in found.outcomes] == [60, 60]

    def gone() -> None:
        for kind in ("jobs.batch", "pods", "configmaps"):
            if left := lab.list(kind, "default", labels="app.kubernetes.io/name=meshlib-load"):
                raise wait.NotYet(f"{len(left)} {kind} are left")

    wait.until(gone, "the end of what the Job had", timeout_s=60)

    refused = LoadJob(lab, "default", image="nobody/knows")
    with pytest.raises(Unsupported, match=r"cannot run nobody/knows: ImagePullBackOff"):
        run(url, duration_s=1, workers=2, on=refused)


def test_missing_rights_are_named_before_anything_is_made(api: Any) -> None:
    nobody = client.connect(api.kubeconfig("nobody", token=api.token(3600)))
    version = api.version
    with pytest.raises(Unsupported, match=r"rights that you do not have there: create jobs\.batch"):
        run("http://127.0.0.1:1/", duration_s=1, on=LoadJob(nobody, "default"))
    assert api.version == version


def test_a_pod_that_waits_says_for_what() -> None:
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert state_of({"status": {"phase": "Pending", "conditions": [why]}}) == ("Unschedulable", "0/3 nodes")
    pulling = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}
    status = {"phase": "Pending", "containerStatuses": [pulling]}
    assert state_of({"status": status}) == ("ErrImagePull", "no such host")
