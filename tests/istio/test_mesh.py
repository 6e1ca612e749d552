"""The mesh configuration as structure: what is kept, what the exercise's edit loses."""

import pytest

from meshlib.errors import ClusterError
from meshlib.istio import manifest, mesh

DEMO = manifest.mesh_config("1.30.5", "istio-system")


def test_sampling_is_set_and_nothing_else_is_lost() -> None:
    before = mesh.parse(DEMO)
    after = mesh.with_sampling(before, 25.0)
    assert mesh.effective_sampling(mesh.render(after)) == 25.0
    assert "tracing" not in before["defaultConfig"]
    del after["defaultConfig"]["tracing"]
    assert after == before


def test_sampling_keeps_the_zipkin_address() -> None:
    old = mesh.parse(manifest.mesh_config("1.19.3", "istio-system"))
    tracing = mesh.with_sampling(old, 100.0)["defaultConfig"]["tracing"]
    assert tracing == {"zipkin": {"address": "zipkin.istio-system:9411"}, "sampling": 100.0}


def test_a_provider_replaces_its_namesake_only() -> None:
    config = mesh.parse(DEMO)
    changed = mesh.with_provider(config, {"name": "jaeger", "zipkin": {"service": "zipkin", "port": 9411}})
    assert mesh.provider_names(changed) == mesh.provider_names(config)
    assert changed["extensionProviders"][-1]["zipkin"]["port"] == 9411


def test_the_exercise_s_edit_sets_no_sampling_and_drops_fields() -> None:
    assert mesh.effective_sampling(mesh.SEED_EDIT) is None
    rows = {row.Key: (row.Known, row[3]) for row in mesh.understood(mesh.SEED_EDIT).itertuples()}
    assert rows["defaultConfig"] == ("yes", "null: nothing is set")
    assert rows["tracing"] == ("no", "dropped without a word")
    assert rows["discoveryAddress"][0] == "no"
    assert mesh.provider_names(mesh.parse(mesh.SEED_EDIT)) == []


@pytest.mark.parametrize("text", ["a: [", "- a", ""])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match=r"data\.mesh"):
        mesh.parse(text)
