"""A read-only run against a lab's API server: it observes, and not one request of it writes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from meshlib.istio import needs
from meshlib.kube import client, journal
from meshlib.lab import cluster as lab
from meshlib.runbook import notebooks, record
from meshlib.runbook.run import Request, run

ROOT = Path(__file__).parent.parent


def test_the_table_of_rights_knows_who_observes() -> None:
    steps = notebooks.discover(ROOT / "notebooks")
    assert {step.number for step in steps if step.observes} == set(needs.OBSERVERS)


@pytest.mark.e2e
@pytest.mark.lab
def test_a_read_only_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "lab"
    monkeypatch.delenv("MESHLIB_HOME", raising=False)
    lab.start(home)
    try:
        admin = client.connect(home / "kubeconfig")

        def everything() -> dict[str, str]:
            kinds = ("namespaces", "configmaps", "secrets", "services", "serviceaccounts", "deployments.apps",
                     "gateways.networking.istio.io", "telemetries.telemetry.istio.io")  # fmt: skip
            return {
                f"{kind} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}": obj["metadata"][
                    "resourceVersion"
                ]
                for kind in kinds
                for obj in admin.list(kind)
            }

        before = everything()
        text = (
            f"target: kubeconfig\nkubeconfig: {home}/kubeconfig.read-only\ncontext: meshlib-lab\n"
            "install_method: manifest\nread_only: true\n"
        )
        (tmp_path / "parameters.yaml").write_text(text)
        out = io.StringIO()
        request = Request(ROOT / "notebooks", tmp_path / "out", tmp_path / "parameters.yaml", html=False)
        assert run(request, out=out) == 0, out.getvalue()
        folder = (tmp_path / "out" / "latest").resolve()
        calls = journal.read(folder)
        assert len(calls) > 20
        assert [call for _, call in calls if call.writes] == []
        assert everything() == before
        manifest = record.load(folder / "manifest.json", record.Manifest)
        skipped = {step.reason for step in manifest.steps if step.outcome == "skipped"}
        assert skipped == {"it writes, and the run is read-only"}
    finally:
        lab.stop(home)
