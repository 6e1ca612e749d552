"""What the embedded lab refuses, and the schemas it documents."""

from __future__ import annotations

from meshlib.lab.schema import KindRef
from meshlib.lab.schema.explain import component_name, components, kinds_of
from meshlib.lab.schema.istio import table
from meshlib.lab.schema.tables import definition, resolve
from meshlib.lab.schema.unsupported import gaps, unsupported


def test_a_kind_that_the_lab_lacks_is_refused_with_the_reason() -> None:
    found = unsupported({"kind": "EnvoyFilter", "spec": {}})
    assert len(found) == 1
    assert found[0].startswith("EnvoyFilter is not supported by the embedded lab: ")


def test_every_row_names_a_field_that_exists() -> None:
    for gap in gaps():
        assert gap.kind in table()["kinds"], gap
        assert gap.reason
        node = definition(f"io.istio.{gap.kind}")
        for part in gap.path.partition("=")[0].split(".") if gap.path != "*" else ():
            target = resolve(node)
            field = (target.properties or {}).get(part.rstrip("[]{}"))
            assert field is not None, gap
            node = field
            if part.endswith("[]"):
                node = resolve(node).items or node
            elif part.endswith("{}"):
                node = resolve(node).values or node


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


def test_the_kinds_of_a_group() -> None:
    assert KindRef("security.istio.io", "v1", "PeerAuthentication") in kinds_of("security.istio.io", "v1")
    assert KindRef("apps", "v1", "Deployment") in kinds_of("apps", "v1")
