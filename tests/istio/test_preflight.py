"""Each way in which a cluster is not fit: the table says so, the run ends with 3, and nothing is written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from meshlib import parameters
from meshlib.errors import PreflightError
from meshlib.istio import preflight
from meshlib.istio.findings import FAIL
from meshlib.kube import journal
from meshlib.runbook import record
from meshlib.runbook.run import Request, run

ROOT = Path(__file__).parents[2]
HOST = "gohttpserver.io"


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def istiod(version: str) -> dict[str, Any]:
    image = f"docker.io/istio/pilot:{version}"
    template = {
        "metadata": {"labels": {"app": "istiod"}},
        "spec": {"containers": [{"name": "discovery", "image": image}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "istiod",
            "namespace": "istio-system",
            "labels": {"app": "istiod", "operator.istio.io/component": "Pilot"},
        },
        "spec": {"selector": {"matchLabels": {"app": "istiod"}}, "template": template},
    }


def injector(bundle: str) -> dict[str, Any]:
    hook = {
        "name": "namespace.sidecar-injector.istio.io",
        "clientConfig": {
            "service": {"name": "istiod", "namespace": "istio-system", "path": "/inject", "port": 443},
            **({"caBundle": bundle} if bundle else {}),
        },
        "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
        "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
        ],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector"},
        "webhooks": [hook],
    }


def gateway(host: str) -> dict[str, Any]:
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "theirs", "namespace": "default"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{"port": port, "hosts": [host]}]},
    }


def lacks_rights(api: Any) -> parameters.Config:
    return api.config(api.kubeconfig("powerless", token=api.token(3600)))


def unreachable(api: Any) -> parameters.Config:
    return api.config(api.kubeconfig("unreachable", server="https://127.0.0.1:1"))


def expired(api: Any) -> parameters.Config:
    return api.config(api.kubeconfig("expired", token=api.token(-60)))


def wrong_context(api: Any) -> parameters.Config:
    return api.config(context="production", confirm_context="production")


def untrusted(api: Any) -> parameters.Config:
    return api.config(api.kubeconfig("untrusted", ca=api.stranger("another cluster's CA")))


def without_istio(api: Any) -> parameters.Config:
    return api.config(install_method="existing")


def newer_istio(api: Any) -> parameters.Config:
    api.add(istiod("1.99.0"))
    return api.config(install_method="existing")


def other_minor(api: Any) -> parameters.Config:
    api.add(istiod("1.29.8"))
    return api.config(install_method="existing")


def unknown_wish(api: Any) -> parameters.Config:
    return api.config(istio_version="1.99.0")


def dead_webhook(api: Any) -> parameters.Config:
    api.add(injector(bundle="QUJD"))
    return api.config()


def same_host(api: Any) -> parameters.Config:
    api.add(gateway(HOST))
    return api.config()


def their_namespace(api: Any) -> parameters.Config:
    api.add(namespace("theirs", team="shop"))
    return api.config(namespace="theirs")


def ambient(api: Any) -> parameters.Config:
    labels = {"istio.io/dataplane-mode": "ambient", "app.kubernetes.io/managed-by": "meshlib"}
    api.add(namespace("flat", **labels))
    return api.config(namespace="flat")


def outside(api: Any) -> parameters.Config:
    return api.config(write_namespaces="team-*, istio-system")


CASES: dict[Callable[[Any], parameters.Config], tuple[str, str]] = {
    lacks_rights: ("rights that the notebooks use", "denied: "),
    unreachable: ("the API server answers", "Connection refused"),
    expired: ("the credential is accepted", "401 Unauthorized"),
    wrong_context: ("the kubeconfig and its context", "no context 'production'; it has meshlib-lab"),
    untrusted: ("the API server answers", "certificate verify failed"),
    without_istio: ("an Istio of the wanted version", "there is none, and install_method is existing"),
    newer_istio: ("an Istio of the wanted version", "1.99.0 is not in the support matrix"),
    other_minor: ("an Istio of the wanted version", "Istio 1.29.8"),
    unknown_wish: ("Istio 1.99.0 supports this Kubernetes", "not in the table"),
    dead_webhook: ("Istio's webhooks can be called", "no ready endpoint"),
    same_host: (f"no other Gateway publishes {HOST}", "default/theirs"),
    their_namespace: ("no object of somebody else", "namespace theirs"),
    ambient: ("sidecars, not ambient mode", "ambient mode"),
    outside: ("the namespaces of the run may be written", "httpserver-istio"),
}


def failed(survey: pd.DataFrame) -> dict[str, str]:
    rows = survey[survey["Verdict"] == FAIL]
    return dict(zip(rows["Need"], rows["Found"], strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_table_says_what_is_wrong(
    api: Any, case: Callable[[Any], parameters.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    need, found = CASES[case]
    monkeypatch.setenv("MESHLIB_STEPS", "05")  # the rights of one step, for speed
    cfg = case(api)
    before = api.version
    survey = preflight.survey(cfg)
    bad = failed(survey)
    assert [(need, found) for what, why in bad.items() if need in what and found in why], bad
    assert survey[survey["Verdict"] == FAIL]["Repair"].all()
    with pytest.raises(PreflightError) as caught:
        preflight.demand(survey)
    assert caught.value.exit_code == 3
    assert api.version == before


WHOLE_RUNS = (
    lacks_rights,
    unreachable,
    expired,
    wrong_context,
    untrusted,
    without_istio,
    newer_istio,
    same_host,
)


@pytest.mark.e2e
@pytest.mark.parametrize("case", WHOLE_RUNS, ids=lambda case: case.__name__)
def test_a_whole_run_ends_with_3_before_it_writes(
    api: Any, case: Callable[[Any], parameters.Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHLIB_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    need, found = CASES[case]
    values = case(api).as_dict()
    values.pop("run_id")
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(values))
    before = api.version
    printed = io.StringIO()
    request = Request(ROOT / "notebooks", tmp_path / "out", tmp_path / "parameters.yaml", html=False)
    assert run(request, out=printed) == 3, printed.getvalue()
    assert api.version == before
    folder = tmp_path / "out" / "latest"
    manifest = record.load(folder / "manifest.json", record.Manifest)
    assert [step.name for step in manifest.steps if step.outcome != "not-run"] == ["00_preflight"]
    assert need in manifest.reason
    assert found in manifest.reason
    assert not [call for _, call in journal.read(folder) if call.writes]


def test_a_fit_cluster_has_no_fail(api: Any) -> None:
    before = api.version
    survey = preflight.survey(api.config())
    assert failed(survey) == {}
    assert len(survey) >= 15
    assert api.version == before


def test_a_reader_is_enough_to_observe(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLIB_STEPS", "00")
    cfg = api.config(api.home / "kubeconfig.read-only", read_only=True, confirm_context="")
    survey = preflight.survey(cfg).set_index("Need")["Found"]
    assert next(found for need, found in survey.items() if "rights" in str(need)) == "all allowed"


def test_a_wildcard_of_others_is_a_warning(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLIB_STEPS", "05")
    api.add(gateway("*"))
    survey = preflight.survey(api.config()).set_index("Need")
    assert survey.loc[f"no other Gateway publishes {HOST}", "Verdict"] == "warning"
