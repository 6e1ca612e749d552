"""Server-side apply and field ownership."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.lab.schema import ApplyConflict, KindRef, PatchError, apply, track

CONFIG_MAP = KindRef("", "v1", "ConfigMap")
DEPLOYMENT = KindRef("apps", "v1", "Deployment")
GATEWAY = KindRef("networking.istio.io", "v1", "Gateway")
POD = KindRef("", "v1", "Pod")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def rota(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rota"}, "data": data}


def test_another_manager_may_not_change_what_ann_owns() -> None:
    live = apply(CONFIG_MAP, None, rota(monday="ann"), manager="ann", force=False, now=NOW)
    with pytest.raises(ApplyConflict) as caught:
        apply(CONFIG_MAP, live, rota(monday="ben"), manager="ben", force=False, now=NOW)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "ann": .data.monday'
    assert caught.value.causes[0].message == 'conflict with "ann"'
    assert live["data"] == {"monday": "ann"}


def test_what_a_manager_stops_applying_goes_if_no_one_else_owns_it() -> None:
    live = apply(CONFIG_MAP, None, rota(monday="ann", tuesday="ben"), manager="ann", force=False, now=NOW)
    live = apply(CONFIG_MAP, live, rota(monday="ben", sunday="ben"), manager="ben", force=True, now=NOW)
    live = apply(CONFIG_MAP, live, rota(wednesday="ann"), manager="ann", force=False, now=LATER)
    assert live["data"] == {"monday": "ben", "sunday": "ben", "wednesday": "ann"}


def test_a_conflict_with_an_update_names_its_version() -> None:
    live = rota(monday="ann", tuesday="ann")
    track(CONFIG_MAP, None, live, manager="kubectl-create", operation="Update", now=NOW)
    with pytest.raises(ApplyConflict) as caught:
        apply(CONFIG_MAP, live, rota(monday="x", tuesday="x"), manager="ben", force=False, now=NOW)
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "kubectl-create" using v1:\n- .data.monday'
        "\n- .data.tuesday"
    )


def test_a_keyed_list_is_owned_entry_by_entry() -> None:
    def pod(*containers: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"name": "p"}, "spec": {"containers": list(containers)}}

    ann = pod({"name": "a", "image": "x", "ports": [{"containerPort": 80}]})
    live = apply(POD, None, ann, manager="ann", force=False, now=NOW)
    live = apply(POD, live, pod({"name": "b", "image": "y"}), manager="ben", force=False, now=NOW)
    assert [each["name"] for each in live["spec"]["containers"]] == ["a", "b"]
    owned = {each["manager"]: each["fieldsV1"]["f:spec"]["f:containers"] for each in fields(live)}
    assert owned["ben"] == {'k:{"name":"b"}': {".": {}, "f:image": {}, "f:name": {}}}
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in owned["ann"]['k:{"name":"a"}']["f:ports"]
    live = apply(POD, live, pod({"name": "c", "image": "z"}), manager="ann", force=False, now=LATER)
    assert [each["name"] for each in live["spec"]["containers"]] == ["b", "c"]


def test_lists_of_custom_resources_are_atomic() -> None:
    def gateway(*names: str) -> dict[str, Any]:
        servers = [{"name": name, "hosts": ["a.b"], "port": {"number": 80}} for name in names]
        return {"metadata": {"name": "g"}, "spec": {"servers": servers}}

    live = apply(GATEWAY, None, gateway("one"), manager="ann", force=False, now=NOW)
    with pytest.raises(ApplyConflict) as caught:
        apply(GATEWAY, live, gateway("one", "two"), manager="ben", force=False, now=NOW)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "ann": .spec.servers'
    live = apply(GATEWAY, live, gateway("one"), manager="ben", force=False, now=NOW)
    assert len(fields(live)) == 2


def test_a_create_is_owned_as_kubernetes_shows_it() -> None:
    obj: dict[str, Any] = {
        "metadata": {"name": "d", "labels": {"app": "d"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "d"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"name": "x", "image": "y", "resources": {}}], "securityContext": {}},
            },
        },
        "status": {},
    }
    track(DEPLOYMENT, None, obj, manager="kubectl-create", operation="Update", now=NOW)
    assert fields(obj) == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "apps/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"x"}': {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}
                            },
                            "f:securityContext": {},
                        },
                    },
                },
            },
        }
    ]


def test_an_update_takes_over_what_it_changes_and_nothing_else() -> None:
    old = rota(monday="ann", tuesday="ann")
    track(CONFIG_MAP, None, old, manager="one", operation="Update", now=NOW)
    new = copy.deepcopy(old)
    new["data"] = {"monday": "two"}
    track(CONFIG_MAP, old, new, manager="two", operation="Update", now=LATER)
    assert {each["manager"]: (each["time"], each["fieldsV1"]) for each in fields(new)} == {
        "one": (NOW, {"f:data": {}}),
        "two": (LATER, {"f:data": {"f:monday": {}}}),
    }


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"replica": 1}, ".spec.replica: field not declared in schema"),
        (
            {"a": 1, "template": {"spec": {"containers": [{"name": "x", "colour": "red"}]}}},
            "errors:\n  .spec.a: field not declared in schema\n"
            '  .spec.template.spec.containers[name="x"].colour: field not declared in schema',
        ),
    ],
)
def test_an_undeclared_field_is_refused(spec: dict[str, Any], said: str) -> None:
    applied = {"metadata": {"name": "d", "namespace": "ns"}, "spec": spec}
    with pytest.raises(PatchError) as caught:
        apply(DEPLOYMENT, None, applied, manager="ann", force=False, now=NOW)
    head = "failed to create typed patch object (ns/d; apps/v1, Kind=Deployment): "
    assert (caught.value.status, caught.value.message) == (500, head + said)


def fields(obj: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = obj["metadata"]["managedFields"]
    return entries


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["ann", "ben"]), DATA, st.booleans()), min_size=1, max_size=6)


@given(STEPS)
def test_ownership_holds_for_any_run_of_applies(steps: list[tuple[str, dict[str, str], bool]]) -> None:
    live: dict[str, Any] | None = None
    for manager, data, force in steps:
        before = copy.deepcopy(live)
        try:
            live = apply(CONFIG_MAP, live, rota(**data), manager=manager, force=force, now=NOW)
        except ApplyConflict as conflict:
            assert not force
            assert live == before
            theirs = {each.field.removeprefix(".data.") for each in conflict.causes}
            assert all(before is not None and before["data"][key] != data[key] for key in theirs)
            continue
        held = live.get("data") or {}
        assert all(held[key] == value for key, value in data.items())
        owners = {each["manager"]: set(each["fieldsV1"].get("f:data", {})) - {"."} for each in fields(live)}
        assert owners.get(manager, set()) == {f"f:{key}" for key in data}
        assert set().union(*owners.values()) == {f"f:{key}" for key in held}
        again = apply(CONFIG_MAP, live, rota(**data), manager=manager, force=False, now=LATER)
        assert again == live
