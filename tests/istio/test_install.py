"""Whose Istio is there, and the commands that the tools would run."""

from pathlib import Path

import pytest

from meshlib import parameters
from meshlib.istio import install, jaeger
from meshlib.kube.client import Cluster

CLUSTER = Cluster(None, "https://127.0.0.1:6443", "kind-lab", Path("/tmp/kubeconfig"))


@pytest.mark.parametrize(
    ("labels", "who"),
    [
        ({"app.kubernetes.io/managed-by": "meshlib"}, "meshlib"),
        ({"app.kubernetes.io/managed-by": "Helm"}, "Helm"),
        ({"operator.istio.io/component": "Pilot"}, "istioctl"),
        ({}, "unknown"),
    ],
)
def test_installer(labels: dict[str, str], who: str) -> None:
    assert install.installer({"metadata": {"labels": labels}}) == who


@pytest.mark.parametrize(
    "image", ["docker.io/istio/pilot:1.30.5", "reg:5000/istio/pilot:1.30.5-distroless@sha256:0"]
)
def test_version_of(image: str) -> None:
    assert (
        install.version_of({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}}) == "1.30.5"
    )


def test_plans_name_the_cluster_and_pin_the_version() -> None:
    cfg = parameters.complete({"istio_version": "1.30.5"})
    (command,) = install.istioctl_plan(CLUSTER, cfg)
    assert command[:6] == ["istioctl", "install", "--kubeconfig", "/tmp/kubeconfig", "--context", "kind-lab"]
    assert "tag=1.30.5" in command
    for line in install.helm_plan(CLUSTER, cfg):
        assert line[line.index("--version") + 1] == "1.30.5"
        assert line[line.index("--kube-context") + 1] == "kind-lab"


@pytest.mark.parametrize(
    ("version", "image"),
    [
        ("1.46.0", "docker.io/jaegertracing/all-in-one:1.46.0"),
        ("2.20.0", "docker.io/jaegertracing/jaeger:2.20.0"),
    ],
)
def test_jaeger_by_major(version: str, image: str) -> None:
    made = jaeger.objects(version, "istio-system")
    deployment = next(obj for obj in made if obj["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == image
    assert ("args" in container) == version.startswith("2.")
    names = [obj["metadata"]["name"] for obj in made if obj["kind"] == "Service"]
    assert names == ["tracing", "zipkin", "jaeger-collector"]
    declared = {port["containerPort"] for port in container["ports"]}
    for obj in made:
        if obj["kind"] == "Service":
            assert {port["targetPort"] for port in obj["spec"]["ports"]} <= declared
