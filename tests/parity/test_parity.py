"""The lab against the recorded answers of a real kube-apiserver; README.md says what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshlib.lab import cluster

HERE = Path(__file__).parent
ENOUGH = 0.95


@pytest.mark.lab
@pytest.mark.parametrize("folder", ["cases", "more"])
def test_the_lab_answers_as_a_real_server_did(tmp_path: Path, folder: str) -> None:
    lab = cluster.start(tmp_path / "lab", images=HERE / "images.yaml")
    summary = tmp_path / "summary.json"
    command = [sys.executable, str(HERE / "parity.py"), "check", "--kubeconfig", str(lab.kubeconfig)]
    cases = sorted(str(each) for each in (HERE / folder).glob("*.yaml"))
    try:
        done = subprocess.run(
            [*command, "--json", str(summary), "--max-wait", "30", *cases],
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    finally:
        lab.stop()
    result = json.loads(summary.read_text())
    assert result["total"] >= 60, done.stderr
    assert result["equal"] >= ENOUGH * result["total"], done.stdout
    if result["skipped"]:
        pytest.skip(f"{result['skipped']} kubectl interactions were not compared: no kubectl on PATH")
