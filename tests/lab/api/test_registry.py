"""The in-process interface: what controllers and the kubelet rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib.lab.api.allocation import Allocator
from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Registry
from meshlib.lab.api.store import Store

Obj = dict[str, Any]
pytestmark = pytest.mark.anyio


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = Store(tmp_path / "state.db")
    made = Registry(store, Allocator())

    async def bootstrap() -> None:
        for name in ("default", "shop"):
            await made.create("namespaces", None, {"metadata": {"name": name}}, manager="test")
            account = {"metadata": {"name": "default"}}
            await made.create("serviceaccounts", name, account, manager="test")

    asyncio.run(bootstrap())
    yield made
    store.close()


def config_map(name: str, **data: str) -> Obj:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "till:1"}], **spec}}


async def test_create_get_and_list(registry: Registry) -> None:
    made = await registry.create("configmaps", "shop", config_map("basket", apples="3"), manager="ann")
    assert made["kind"] == "ConfigMap"
    assert made["apiVersion"] == "v1"
    assert made["metadata"]["uid"]
    assert registry.get("configmaps", "shop", "basket") == made
    assert registry.list("configmaps", "shop") == [made]
    assert registry.list("configmaps", "default") == []


async def test_list_by_labels(registry: Registry) -> None:
    for name, tier in (("a", "front"), ("b", "back")):
        obj = {"metadata": {"name": name, "labels": {"tier": tier, "x": "y"}}}
        await registry.create("configmaps", "shop", obj, manager="ann")
    found = registry.list("configmaps", labels={"tier": "back"})
    assert [each["metadata"]["name"] for each in found] == ["b"]


async def test_update_with_a_stale_version_conflicts(registry: Registry) -> None:
    first = await registry.create("configmaps", "shop", config_map("basket", apples="3"), manager="ann")
    await registry.update("configmaps", {**first, "data": {"apples": "4"}}, manager="ann")
    with pytest.raises(StatusError) as caught:
        await registry.update("configmaps", {**first, "data": {"apples": "5"}}, manager="ben")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert registry.get("configmaps", "shop", "basket")["data"] == {"apples": "4"}


async def test_an_update_that_changes_nothing_keeps_the_version(registry: Registry) -> None:
    first = await registry.create("configmaps", "shop", config_map("basket", apples="3"), manager="ann")
    again = await registry.update("configmaps", first, manager="ann")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_modify_status_leaves_spec_and_generation(registry: Registry) -> None:
    await registry.create("pods", "shop", pod("till"), manager="ann")

    def run(obj: Obj) -> None:
        obj["status"]["phase"] = "Running"
        obj["spec"]["nodeName"] = "elsewhere"

    made = await registry.modify("pods", "shop", "till", run, subresource="status", manager="kubelet")
    assert made["status"]["phase"] == "Running"
    assert "nodeName" not in made["spec"]
    assert made["metadata"]["generation"] == 1


async def test_a_pod_gets_its_token_volume(registry: Registry) -> None:
    made = await registry.create("pods", "shop", pod("till"), manager="ann")
    mounts = made["spec"]["containers"][0]["volumeMounts"]
    assert mounts[0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert made["spec"]["volumes"][0]["name"] == mounts[0]["name"]
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


async def test_services_get_different_addresses_and_ports(registry: Registry) -> None:
    made = []
    for name in ("a", "b"):
        spec = {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80}]}
        service = {"metadata": {"name": name}, "spec": spec}
        made.append(await registry.create("services", "shop", service, manager="ann"))
    assert len({each["spec"]["clusterIP"] for each in made}) == 2
    assert len({each["spec"]["ports"][0]["nodePort"] for each in made}) == 2


async def test_an_unscheduled_pod_goes_at_once_and_a_running_one_gets_its_time(registry: Registry) -> None:
    await registry.create("pods", "shop", pod("idle"), manager="ann")
    await registry.delete("pods", "shop", "idle")
    with pytest.raises(StatusError):
        registry.get("pods", "shop", "idle")
    await registry.create("pods", "shop", pod("busy", nodeName="n"), manager="ann")
    marked = await registry.delete("pods", "shop", "busy")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert registry.get("pods", "shop", "busy")["metadata"]["deletionTimestamp"]
    await registry.delete("pods", "shop", "busy", grace_s=0)
    with pytest.raises(StatusError):
        registry.get("pods", "shop", "busy")


async def test_a_finalizer_holds_until_it_is_removed(registry: Registry) -> None:
    obj = {"metadata": {"name": "held", "finalizers": ["example.test/hold"]}}
    await registry.create("configmaps", "shop", obj, manager="ann")
    await registry.delete("configmaps", "shop", "held", propagation="Background")
    assert registry.get("configmaps", "shop", "held")["metadata"]["deletionTimestamp"]

    def release(live: Obj) -> None:
        live["metadata"]["finalizers"] = []

    await registry.modify("configmaps", "shop", "held", release, manager="ann")
    with pytest.raises(StatusError):
        registry.get("configmaps", "shop", "held")


async def test_foreground_and_orphan_leave_finalizers(registry: Registry) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await registry.create("configmaps", "shop", config_map(policy.lower()), manager="ann")
        await registry.delete("configmaps", "shop", policy.lower(), propagation=policy)
        assert registry.get("configmaps", "shop", policy.lower())["metadata"]["finalizers"] == [finalizer]


async def test_a_terminating_namespace_takes_nothing_new(registry: Registry) -> None:
    marked = await registry.delete("namespaces", None, "shop")
    assert marked["status"]["phase"] == "Terminating"
    with pytest.raises(StatusError) as caught:
        await registry.create("configmaps", "shop", config_map("late"), manager="ann")
    assert caught.value.status == 403
    assert caught.value.details is not None
    assert caught.value.details["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_subscription_starts_with_what_exists_and_goes_on(registry: Registry) -> None:
    await registry.create("configmaps", "shop", config_map("one"), manager="ann")
    with registry.subscribe("configmaps", "secrets") as events:
        await registry.create("configmaps", "shop", config_map("two"), manager="ann")
        await registry.modify("configmaps", "shop", "one", lambda o: o.update(data={"k": "v"}), manager="ann")
        await registry.delete("configmaps", "shop", "two")
        seen = [await anext(events) for _ in range(4)]
    assert [(each.type, each.object["metadata"]["name"]) for each in seen] == [
        ("ADDED", "one"),
        ("ADDED", "two"),
        ("MODIFIED", "one"),
        ("DELETED", "two"),
    ]
    assert seen[2].old is not None
    assert not seen[2].old.get("data")


async def test_repeated_events_are_counted(registry: Registry) -> None:
    thing = await registry.create("configmaps", "shop", config_map("one"), manager="ann")
    for _ in range(3):
        await registry.event(thing, "Warning", "Odd", "it is odd", component="tester")
    (found,) = registry.list("events", "shop")
    assert found["count"] == 3
    assert found["involvedObject"]["name"] == "one"


async def test_old_events_expire(registry: Registry) -> None:
    thing = await registry.create("configmaps", "shop", config_map("one"), manager="ann")
    await registry.event(thing, "Normal", "New", "it is new", component="tester")
    await registry.event(thing, "Normal", "Old", "it is old", component="tester")
    (old,) = (each for each in registry.list("events") if each["reason"] == "Old")

    def age(event: Obj) -> None:
        event["lastTimestamp"] = "2026-01-01T00:00:00Z"

    await registry.modify("events", "shop", old["metadata"]["name"], age, manager="t")
    assert await registry.events.expire() == 1
    assert [each["reason"] for each in registry.list("events")] == ["New"]
