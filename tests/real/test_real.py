"""The notebooks on a real cluster against the embedded lab: the same checks, the same verdicts.

Opt-in: MESHLIB_REAL_CONTEXT names a context of $KUBECONFIG that may be written; MESHLIB_REAL_PARAMETERS may
name a file of parameters (default: parameters/kind.yaml).
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from meshlib.runbook import record
from meshlib.runbook.run import Request, run

ROOT = Path(__file__).parents[2]
CONTEXT = os.environ.get("MESHLIB_REAL_CONTEXT", "")
PARAMETERS = Path(os.environ.get("MESHLIB_REAL_PARAMETERS", ROOT / "parameters" / "kind.yaml"))
REASON = "MESHLIB_REAL_CONTEXT names no context of a cluster that may be written"


def verdicts(out: Path, parameters: Path, *overrides: str) -> dict[tuple[str, str], str]:
    """(step, check) → verdict of a whole run, which must pass."""
    printed = io.StringIO()
    request = Request(ROOT / "notebooks", out, parameters, overrides=overrides, html=False)
    code = run(request, out=printed)
    results = record.load(out / "latest" / "results.json", record.Results)
    assert code == 0, printed.getvalue()
    return {(check.step, check.name): check.verdict for check in results.checks}


@pytest.mark.real
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not CONTEXT, reason=REASON)
def test_a_real_cluster_gives_the_verdicts_of_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHLIB_HOME", raising=False)
    real = verdicts(
        tmp_path / "real", PARAMETERS, f"context={CONTEXT}", f"confirm_context={CONTEXT}", "read_only=false"
    )
    embedded = verdicts(tmp_path / "embedded", ROOT / "parameters" / "embedded.yaml")
    differences = {key: (embedded.get(key), real.get(key)) for key in embedded | real}
    assert {key: pair for key, pair in differences.items() if pair[0] != pair[1]} == {}
