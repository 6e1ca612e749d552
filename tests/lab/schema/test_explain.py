"""The schemas as OpenAPI v3 components."""

from __future__ import annotations

from meshlib.lab.schema import KindRef
from meshlib.lab.schema.explain import component_name, components


def test_a_kind_and_all_it_refers_to_are_documented() -> None:
    deployment, gateway = KindRef("apps", "v1", "Deployment"), KindRef("networking.istio.io", "v1", "Gateway")
    made = components([deployment, gateway])
    assert made["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]["type"] == "array"
    assert made["io.k8s.api.core.v1.PodSpec"]["description"]
    name = component_name(gateway)
    assert name == "io.istio.networking.v1.Gateway"
    port = made[name]["properties"]["spec"]["properties"]["servers"]["items"]["properties"]["port"]
    assert port["properties"]["number"]["type"] == "integer"
    assert list(port["required"]) == ["number", "protocol", "name"]
    text = str(made)
    assert "#/$defs/" not in text
    assert "'null'" not in text
