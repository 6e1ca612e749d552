"""Read-only runs on a cluster where the service is published: they observe, and not one request writes."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest

from meshlib.istio import needs
from meshlib.kube import journal
from meshlib.runbook import record
from meshlib.runbook.run import Request, run

ROOT = Path(__file__).parents[2]
DEPLOYED = ("01", "02", "03", "04", "05", "06", "07")

pytestmark = [pytest.mark.e2e, pytest.mark.lab, pytest.mark.timeout(900)]


def ran(file: Path, out: Path, **options: Any) -> Path:
    """The folder of a run, which must pass."""
    printed = io.StringIO()
    request = Request(ROOT / "notebooks", out, file, html=False, **options)
    assert run(request, out=printed) == 0, printed.getvalue()
    return (out / "latest").resolve()


@pytest.fixture(scope="module")
def published(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.pop("MESHLIB_HOME", None)
    folder = tmp_path_factory.mktemp("published")
    ran(lab.parameters(folder / "parameters.yaml"), folder / "out", only=DEPLOYED)
    return lab


def observed(lab: Any, file: Path, out: Path) -> dict[str, str]:
    """Run read-only, see that nothing was written, and return which deeper views were seen."""
    names = lab.listing()
    version = lab.admin().get("configmaps", "istio", "istio-system")["metadata"]["resourceVersion"]
    folder = ran(file, out)
    calls = journal.read(folder)
    assert {step[:2] for step, _ in calls} == set(needs.OBSERVERS)
    assert [call for _, call in calls if call.writes] == []
    assert lab.listing() == names
    assert lab.admin().get("configmaps", "istio", "istio-system")["metadata"]["resourceVersion"] == version
    manifest = record.load(folder / "manifest.json", record.Manifest)
    ended = {step.name[:2]: step.outcome for step in manifest.steps if step.outcome != "skipped"}
    assert ended == dict.fromkeys(needs.OBSERVERS, "passed")
    with (folder / "tables" / "15_observe-views.csv").open(newline="") as table:
        return {row["View"]: row["Seen"] for row in csv.DictReader(table)}


def test_the_lab_s_read_only_credential_sees_objects_and_the_answer(published: Any, tmp_path: Path) -> None:
    more = {"kubeconfig": f"{published.kubeconfig}.read-only", "confirm_context": "", "read_only": True}
    file = published.parameters(tmp_path / "parameters.yaml", **more)
    assert observed(published, file, tmp_path / "out") == {"istiod and the proxies": "no", "traces": "no"}


def test_the_account_of_a_read_only_cronjob_sees_traces_too(published: Any, tmp_path: Path) -> None:
    file = published.account(tmp_path, read_only=True, confirm_context="")
    assert observed(published, file, tmp_path / "out") == {"istiod and the proxies": "no", "traces": "yes"}


def test_an_administrator_who_only_looks_sees_everything(published: Any, tmp_path: Path) -> None:
    file = published.parameters(tmp_path / "parameters.yaml", read_only=True, confirm_context="")
    assert observed(published, file, tmp_path / "out") == {"istiod and the proxies": "yes", "traces": "yes"}
