"""Before a tool installs Istio: nobody's Istio is changed unasked, and the namespace says whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import ClusterError, PreflightError
from meshlib.istio import install, uninstall

HELM = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *"--kube-context meshlib-lab"*) echo "Release has been upgraded. Happy Helming!" ;;
  *) echo "Error: no context" >&2; exit 1 ;;
esac
[ ! -e {log}.full ] || { echo "Error: context deadline exceeded" >&2; exit 1; }
"""


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A helm that knows its cluster and writes down what it was asked; it fails once `<log>.full` exists."""
    log = tmp_path / "asked"
    program = tmp_path / "bin" / "helm"
    program.parent.mkdir()
    program.write_text(HELM.replace("{log}", str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return log


@pytest.fixture
def unnoted(api: Any) -> Any:
    yield api
    gone = {"metadata": {"annotations": {install.INSTALLED_BY: None, "meshlib.dev/run-id": None}}}
    api.admin.merge("namespaces", "istio-system", gone, manager="test")


def istiod(version: str) -> dict[str, Any]:
    labels = {"app": "istiod", "app.kubernetes.io/managed-by": "Helm"}
    container = {"name": "discovery", "image": f"docker.io/istio/pilot:{version}"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": "istio-system", "labels": labels},
        "spec": {"selector": {"matchLabels": {"app": "istiod"}}, "template": template},
    }


def test_an_istio_of_others_is_not_touched(api: Any, helm: Path) -> None:
    api.add(istiod("1.30.5"))
    before = api.version
    with pytest.raises(PreflightError, match="was not installed by meshlib"):
        install.install(api.admin, api.config(install_method="helm"))
    assert not helm.exists()
    assert api.version == before


def test_the_note_comes_before_the_tool_and_outlives_its_failure(unnoted: Any, helm: Path) -> None:
    helm.with_name(f"{helm.name}.full").touch()
    with pytest.raises(ClusterError, match="context deadline exceeded"):
        install.install(unnoted.admin, unnoted.config(install_method="helm"))
    (asked,) = helm.read_text().splitlines()
    assert asked.startswith("upgrade --install istio-base base --namespace istio-system")
    assert install.noted(unnoted.admin, "istio-system") == "helm"
    assert install.choose(unnoted.admin, unnoted.config(install_method="auto"))[0] == "helm"


def test_another_version_replaces_ours_only_when_asked(unnoted: Any, helm: Path) -> None:
    note = {"metadata": {"annotations": {install.INSTALLED_BY: "helm"}}}
    unnoted.admin.merge("namespaces", "istio-system", note, manager="test")
    unnoted.add(istiod("1.29.8"))
    with pytest.raises(PreflightError, match="would replace it in place"):
        install.install(unnoted.admin, unnoted.config(install_method="helm"))
    assert not helm.exists()
    helm.with_name(f"{helm.name}.full").touch()
    with pytest.raises(ClusterError, match="context deadline exceeded"):
        install.install(unnoted.admin, unnoted.config(install_method="helm", istio_upgrade=True))
    assert helm.exists()


@pytest.mark.parametrize(("alone", "scope"), [(True, ["--purge"]), (False, ["--revision", "default"])])
def test_istioctl_takes_only_ours_along_where_there_is_another(
    api: Any, alone: bool, scope: list[str]
) -> None:
    (command,) = uninstall.plan(api.admin, api.config(), "istioctl", "istioctl", alone=alone)
    assert [word for word in command if word in ("--purge", "--revision", "default")] == scope
    assert command[-1] == "meshlib-lab"


def test_uninstalling_takes_the_note_away_and_keeps_a_namespace_that_was_there(
    unnoted: Any, helm: Path
) -> None:
    note = {"metadata": {"annotations": {install.INSTALLED_BY: "helm"}}}
    unnoted.admin.merge("namespaces", "istio-system", note, manager="test")
    assert uninstall.by_tool(unnoted.admin, unnoted.config()) == "uninstalled with helm"
    releases = [line.split()[1] for line in helm.read_text().splitlines()]
    assert releases == ["istio-egressgateway", "istio-ingressgateway", "istiod", "istio-base"]
    assert unnoted.admin.find("namespaces", "istio-system") is not None
    assert install.noted(unnoted.admin, "istio-system") == ""
    assert uninstall.by_tool(unnoted.admin, unnoted.config()) == "no tool was used by this project"
