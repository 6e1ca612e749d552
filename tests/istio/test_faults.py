"""What a fault takes down and how it is put back; the breaking itself is what notebook 14 runs on the lab."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshlib.errors import ParameterError
from meshlib.istio import faults
from meshlib.istio.diagnose import MODES
from meshlib.kube.client import Cluster
from meshlib.parameters import complete

CFG = complete({})
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "1",
        "labels": {"app": "web", "added": "later"},
        "managedFields": [
            {
                "manager": "meshlib",
                "operation": "Apply",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {
                        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}},
                        "f:selector": {},
                    },
                },
            },
        ],
    },
    "spec": {
        "clusterIP": "10.0.0.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "web"},
    },
}


def test_only_what_was_applied_is_kept() -> None:
    assert faults.applied(SERVICE) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "web"}},
    }


def test_what_somebody_else_edited_is_kept_whole() -> None:
    edited = copy.deepcopy(SERVICE)
    other = {"f:spec": {"f:selector": {}}, "f:metadata": {"f:labels": {"f:added": {}}}}
    entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": other}
    edited["metadata"]["managedFields"].append(entry)
    kept = faults.applied(edited)
    assert kept["spec"] == SERVICE["spec"]
    assert kept["metadata"]["labels"] == {"app": "web", "added": "later"}


def test_there_is_a_fault_for_each_mode() -> None:
    assert list(faults.faults(CFG)) == list(MODES)


def test_an_unknown_number_is_refused_before_anything_is_sent(tmp_path: Any) -> None:
    nowhere = Cluster(None, "https://127.0.0.1:1", "none", tmp_path)
    with pytest.raises(ParameterError, match="12 is none of 1 to 11"):
        faults.start(nowhere, CFG, 12)


@pytest.mark.parametrize(
    ("guess", "verdict"),
    [("", "no guess yet"), ("virtual service", "right"), ("Service", "not the Service")],
)
def test_a_guess_is_judged(guess: str, verdict: str, tmp_path: Any) -> None:
    nowhere = Cluster(None, "https://127.0.0.1:1", "none", tmp_path)
    assert faults.Broken(3, "VirtualService", nowhere, CFG).judge(guess).startswith(verdict)
