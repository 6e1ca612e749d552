"""JSON, merge and strategic merge patches: worked examples, and properties that hold for any objects."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshlib.lab.schema import KindRef, PatchError, json_patch, merge_patch, strategic_merge_patch

DEPLOYMENT = KindRef("apps", "v1", "Deployment")
POD = KindRef("", "v1", "Pod")
GENERIC = "the server rejected our request due to an error in our request"
GATEWAY = KindRef("networking.istio.io", "v1", "Gateway")


def strategic(old: str, patch: str) -> dict[str, Any]:
    """The pod's spec after the patch; both are YAML of the spec."""
    obj = {"metadata": {"name": "a"}, "spec": yaml.safe_load(old)}
    kept = copy.deepcopy(obj)
    result = strategic_merge_patch(POD, obj, {"spec": yaml.safe_load(patch)})
    assert obj == kept
    spec: dict[str, Any] = result["spec"]
    return spec


@pytest.mark.parametrize(
    ("old", "patch", "expected"),
    [
        ("{hostname: a, subdomain: b}", "{hostname: null}", "{subdomain: b}"),
        (
            "{containers: [{name: a, image: x}, {name: b, image: y}]}",
            "{containers: [{name: b, image: z}]}",
            "{containers: [{name: a, image: x}, {name: b, image: z}]}",
        ),
        (
            "{containers: [{name: a}, {name: b}]}",
            "{containers: [{name: c}]}",
            "{containers: [{name: c}, {name: a}, {name: b}]}",
        ),
        (
            "{containers: [{name: a}, {name: b}, {name: c}]}",
            "{containers: [{name: c, image: i}, {name: x}]}",
            "{containers: [{name: a}, {name: b}, {name: c, image: i}, {name: x}]}",
        ),
        (
            "{containers: [{name: a}, {name: b}]}",
            "{containers: [{name: a, $patch: delete}]}",
            "{containers: [{name: b}]}",
        ),
        (
            "{containers: [{name: a, image: x}]}",
            "{containers: [{$patch: replace}, {name: b, image: y}]}",
            "{containers: [{name: b, image: y}]}",
        ),
        (
            "{containers: [{name: a, image: x, command: [one]}]}",
            "{containers: [{name: a, command: [two], $patch: replace}]}",
            "{containers: []}",
        ),
        (
            "{securityContext: {runAsUser: 1}}",
            "{securityContext: {$patch: replace, fsGroup: 2}}",
            "{securityContext: {fsGroup: 2}}",
        ),
        (
            "{containers: [{name: a}, {name: b}, {name: c}]}",
            "{$setElementOrder/containers: [{name: c}, {name: a}]}",
            "{containers: [{name: b}, {name: c}, {name: a}]}",
        ),
        (
            "{containers: [{name: a}, {name: b}]}",
            "{$setElementOrder/containers: [{name: a}, {name: n}, {name: b}], containers: [{name: n}]}",
            "{containers: [{name: a}, {name: n}, {name: b}]}",
        ),
        (
            "{volumes: [{name: v, emptyDir: {}}]}",
            "{volumes: [{$retainKeys: [name, configMap], name: v, configMap: {name: c}}]}",
            "{volumes: [{name: v, configMap: {name: c}}]}",
        ),
        (
            "{nodeSelector: {a: b}, tolerations: [{key: a}]}",
            "{nodeSelector: {c: d}, tolerations: [{key: b}]}",
            "{nodeSelector: {a: b, c: d}, tolerations: [{key: b}]}",
        ),
    ],
)
def test_strategic_merge(old: str, patch: str, expected: str) -> None:
    assert strategic(old, patch) == yaml.safe_load(expected)


def test_finalizers_are_a_list_of_words_that_merges() -> None:
    obj = {"metadata": {"name": "a", "finalizers": ["x", "y"]}}
    patch: dict[str, Any] = {"metadata": {"finalizers": ["z"], "$deleteFromPrimitiveList/finalizers": ["x"]}}
    assert strategic_merge_patch(POD, obj, patch)["metadata"]["finalizers"] == ["z", "y"]


def test_the_strategy_of_a_deployment_drops_what_it_does_not_retain() -> None:
    obj = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(DEPLOYMENT, obj, patch) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("kind", "patch", "status"),
    [
        (GATEWAY, {}, 415),
        (POD, [], 400),
        (POD, {"spec": {"containers": [{"image": "x"}]}}, 400),
        (POD, {"spec": {"$patch": "sing"}}, 400),
        (POD, {"spec": {"$retainKeys": ["a"], "hostname": "b"}}, 400),
    ],
)
def test_bad_strategic_patches(kind: KindRef, patch: Any, status: int) -> None:
    with pytest.raises(PatchError) as caught:
        strategic_merge_patch(kind, {"spec": {"containers": [{"name": "a"}]}}, patch)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("ops", "status", "message"),
    [
        (
            {},
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type "
            "[]handlers.jsonPatchOp",
        ),
        ([{"op": "remove", "path": "/nothing"}], 422, GENERIC),
        ([{"op": "test", "path": "/a", "value": 2}], 422, GENERIC),
        ([{"op": "sing", "path": "/a"}], 422, GENERIC),
        ([{"op": "replace", "path": "", "value": []}], 422, GENERIC),
    ],
)  # fmt: skip
def test_bad_json_patches(ops: Any, status: int, message: str) -> None:
    with pytest.raises(PatchError) as caught:
        json_patch({"a": 1}, ops)
    assert (caught.value.status, caught.value.message) == (status, message)


KEYS = st.sampled_from(["a", "b", "c", "~/d"])
SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(SCALARS), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def merge_difference(old: Any, new: Any) -> Any:
    """The merge patch from one object without nulls to another."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    gone: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    changed = {
        key: merge_difference(old[key], value) if isinstance(old.get(key), dict) else value
        for key, value in new.items()
        if key not in old or old[key] != value or type(old[key]) is not type(value)
    }
    return gone | changed


@given(OBJECTS, OBJECTS)
def test_a_json_patch_made_from_a_difference_makes_the_difference(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    kept = copy.deepcopy(old)
    assert json_patch(old, jsonpatch.make_patch(old, new).patch) == new
    assert old == kept


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_made_from_a_difference_makes_the_difference(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    patch = merge_difference(old, new)
    once = merge_patch(old, patch)
    assert once == new
    assert merge_patch(once, patch) == once


NAMES = st.sampled_from("abcdef")
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"image": st.sampled_from("xy"), "tty": st.booleans()}),
    unique_by=lambda entry: entry["name"],
    max_size=5,
)


@given(CONTAINERS, CONTAINERS)
def test_a_strategic_patch_merges_by_key_and_changes_nothing_twice(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    def patched(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = strategic_merge_patch(POD, {"spec": {"containers": entries}}, {"spec": {"containers": new}})
        merged: list[dict[str, Any]] = found["spec"]["containers"]
        return merged

    once = patched(old)
    by_name = {each["name"]: each for each in once}
    was = {each["name"]: each for each in old}
    assert len(by_name) == len(once)
    assert set(by_name) == {each["name"] for each in old + new}
    assert all(by_name[each["name"]] == was.get(each["name"], {}) | each for each in new)
    assert [each["name"] for each in once if each in new] == [each["name"] for each in new if each in once]
    assert patched(once) == once
    order = [{"name": each["name"]} for each in reversed(once)]
    spec = {"containers": new, "$setElementOrder/containers": order}
    turned = strategic_merge_patch(POD, {"spec": {"containers": old}}, {"spec": spec})["spec"]["containers"]
    assert turned == list(reversed(once))


@given(
    st.dictionaries(KEYS | st.sampled_from(["$patch", "spec", "containers"]), VALUES | OBJECTS, max_size=4)
)
def test_any_patch_gives_an_object_or_a_patch_error(patch: dict[str, Any]) -> None:
    obj = {"spec": {"containers": [{"name": "a"}]}}
    try:
        result = strategic_merge_patch(POD, obj, patch)
    except PatchError as error:
        assert error.status in (400, 415)  # noqa: PT017  both outcomes are checked
    else:
        assert isinstance(result, dict)
