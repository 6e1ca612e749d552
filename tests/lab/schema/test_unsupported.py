"""What the embedded lab refuses, and that the table of it names fields that exist."""

from __future__ import annotations

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
