"""REST over the wire: pages, watches, conflicts, subresources; the parity cases hold the wording."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from typing import Any, cast

import pytest

from meshlib.lab.api.listing import list_objects
from meshlib.lab.api.request import Form, Query, parse_path
from meshlib.lab.api.store import Store

from .conftest import Api, Obj

pytestmark = pytest.mark.anyio
MAPS = "/api/v1/namespaces/shop/configmaps"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


async def fill(api: Api, *names: str, **data: str) -> None:
    for name in names:
        obj = {"metadata": {"name": name, "labels": {"app": "fruit"}}, "data": data}
        await api.registry.create("configmaps", "shop", obj, manager="t")


def names(answer: Any) -> list[str]:
    return [each["metadata"]["name"] for each in answer.json()["items"]]


async def test_later_pages_show_the_state_of_the_first(api: Api) -> None:
    await fill(api, "a", "b", "c", "d", "e")
    client = api.client()
    first = await client.get(MAPS, params={"limit": "2"})
    meta = first.json()["metadata"]
    assert (names(first), meta["remainingItemCount"]) == (["a", "b"], 3)
    await api.registry.delete("configmaps", "shop", "c")
    await fill(api, "aa", "cc")
    second = await client.get(MAPS, params={"limit": "2", "continue": meta["continue"]})
    assert names(second) == ["c", "d"]
    assert second.json()["metadata"]["resourceVersion"] == meta["resourceVersion"]
    third = await client.get(MAPS, params={"limit": "2", "continue": second.json()["metadata"]["continue"]})
    assert names(third) == ["e"]
    assert "continue" not in third.json()["metadata"]


async def test_a_page_from_before_the_window_is_expired_and_can_go_on_inconsistently(api: Api) -> None:
    await fill(api, "a", "b", "c")
    client = api.client()
    token = (await client.get(MAPS, params={"limit": "1"})).json()["metadata"]["continue"]
    await fill(api, "bb")
    api.registry.store.forget_before(api.registry.store.version)
    answer = await client.get(MAPS, params={"limit": "5", "continue": token})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")
    token = answer.json()["metadata"]["continue"]
    assert names(await client.get(MAPS, params={"continue": token})) == ["b", "bb", "c"]


async def test_an_exact_version_is_the_list_of_then(api: Api) -> None:
    await fill(api, "a")
    version = str(api.registry.store.version)
    await fill(api, "b")
    exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert names(await api.client().get(MAPS, params=exact)) == ["a"]


async def test_a_version_from_the_future_is_a_timeout(api: Api) -> None:
    answer = await api.client().get(MAPS, params={"resourceVersion": "1000000"})
    assert answer.status_code == 504
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def read_events(api: Api, count: int, **params: str) -> list[Obj]:
    query = {"watch": "1", "timeoutSeconds": "10", **params}
    found: list[Obj] = []
    async with api.client().stream("GET", MAPS, params=query) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            found.append(json.loads(line))
            if len(found) == count:
                break
    return found


async def test_a_watch_sees_what_happened_and_what_happens(api: Api) -> None:
    version = str(api.registry.store.version)
    await fill(api, "a")
    watching = asyncio.create_task(read_events(api, 3, resourceVersion=version))
    await asyncio.sleep(0.2)
    await fill(api, "b")
    await api.registry.delete("configmaps", "shop", "a")
    events = await watching
    assert [(each["type"], each["object"]["metadata"]["name"]) for each in events] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]
    versions = [int(each["object"]["metadata"]["resourceVersion"]) for each in events]
    assert versions == sorted(versions)


async def test_many_watchers_see_every_event_once(api: Api) -> None:
    version = str(api.registry.store.version)
    watching = [asyncio.create_task(read_events(api, 20, resourceVersion=version)) for _ in range(20)]
    await asyncio.sleep(0.3)
    await fill(api, *(f"m{number:02}" for number in range(20)))
    for events in await asyncio.gather(*watching):
        assert [each["object"]["metadata"]["name"] for each in events] == [f"m{n:02}" for n in range(20)]


async def test_a_selector_decides_what_appears_and_disappears(api: Api) -> None:
    await fill(api, "a")
    version = str(api.registry.store.version)
    watching = asyncio.create_task(read_events(api, 2, resourceVersion=version, labelSelector="app=fruit"))
    await asyncio.sleep(0.2)
    for label in ("tree", "fruit"):

        def relabel(obj: Obj, label: str = label) -> None:
            obj["metadata"]["labels"]["app"] = label

        await api.registry.modify("configmaps", "shop", "a", relabel, manager="t")
    events = await watching
    assert [each["type"] for each in events] == ["DELETED", "ADDED"]
    assert events[0]["object"]["metadata"]["labels"]["app"] == "fruit"


async def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    await fill(api, "a")
    events = await read_events(
        api,
        2,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
    )
    assert [each["type"] for each in events] == ["ADDED", "BOOKMARK"]
    annotations = events[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_that_starts_before_the_window_gets_an_error_event(api: Api) -> None:
    (event,) = await read_events(api, 1, resourceVersion="1")
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_watcher_that_goes_away_is_forgotten(api: Api) -> None:
    before = len(api.registry.store._listeners)
    await fill(api, "a")
    await read_events(api, 1)
    for _ in range(50):
        if len(api.registry.store._listeners) == before:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the watch still listens")


async def test_the_same_events_in_both_groups(api: Api) -> None:
    await fill(api, "a")
    thing = api.registry.get("configmaps", "shop", "a")
    await api.registry.event(thing, "Normal", "Seen", "it was seen", component="tester")
    answer = await api.client().get("/apis/events.k8s.io/v1/namespaces/shop/events")
    (event,) = answer.json()["items"]
    assert (event["note"], event["regarding"]["name"]) == ("it was seen", "a")
    assert "message" not in event


async def test_a_deleted_collection_is_answered_with_its_objects(api: Api) -> None:
    await fill(api, "a", "b")
    await api.registry.create("configmaps", "shop", {"metadata": {"name": "other"}}, manager="t")
    answer = await api.client().delete(MAPS, params={"labelSelector": "app=fruit"})
    assert (answer.json()["kind"], names(answer)) == ("ConfigMapList", ["a", "b"])
    assert names(await api.client().get(MAPS)) == ["other"]


async def test_a_dry_run_leaves_nothing_behind(api: Api) -> None:
    await fill(api, "a", k="1")
    client, dry = api.client(), {"dryRun": "All"}
    version = api.registry.store.version
    assert (await client.post(MAPS, json={"metadata": {"name": "b"}}, params=dry)).status_code == 201
    merge = {"content-type": "application/merge-patch+json"}
    patch = json.dumps({"data": {"k": "2"}})
    answer = await client.patch(f"{MAPS}/a", content=patch, headers=merge, params=dry)
    assert answer.json()["data"] == {"k": "2"}
    assert (await client.delete(f"{MAPS}/a", params=dry)).status_code == 200
    assert api.registry.store.version == version


async def test_a_strategic_patch_of_the_wrong_type_is_said_in_gos_words(api: Api) -> None:
    labels = {"app": "till"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "till:1"}]}}
    till = {"metadata": {"name": "till"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    await api.registry.create("deployments.apps", "shop", till, manager="t")
    answer = await api.client().patch(
        "/apis/apps/v1/namespaces/shop/deployments/till",
        content=json.dumps({"spec": {"replicas": "abc"}}),
        headers={"content-type": "application/strategic-merge-patch+json"},
    )
    assert answer.status_code == 422
    assert answer.json()["message"] == (
        ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:abc]]": unrecognized type: int32'
    )


async def test_yaml_in_and_out(api: Api) -> None:
    headers = {"content-type": "application/yaml", "accept": "application/yaml"}
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: y}\ndata: {when: 2026-01-01}\n"
    answer = await api.client().post(
        MAPS, content=text.replace("2026-01-01", "'2026-01-01'"), headers=headers
    )
    assert answer.status_code == 201
    assert 'when: "2026-01-01"' in answer.text


async def test_a_kind_that_the_lab_cannot_honour_is_refused(api: Api) -> None:
    policy = {"metadata": {"name": "p"}, "spec": {"podSelector": {}}}
    path = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
    answer = await api.client().post(path, json=policy)
    assert answer.status_code == 403
    assert "does not enforce network policies" in answer.json()["message"]
    assert (await api.client().get(path)).json()["items"] == []


@pytest.mark.parametrize("path", ["apps/v1/statefulsets", "apps/v1/daemonsets", "batch/v1/cronjobs"])
async def test_kinds_without_a_controller_are_refused(api: Api, path: str) -> None:
    group, version, plural = path.split("/")
    answer = await api.client().post(
        f"/apis/{group}/{version}/namespaces/shop/{plural}", json={"metadata": {"name": "x"}, "spec": {}}
    )
    assert answer.status_code == 403
    assert "runs no controller for it" in answer.json()["message"]


async def test_a_later_page_reads_no_more_than_it_shows(api: Api) -> None:
    await fill(api, *(f"m{number:03}" for number in range(60)))
    read: list[int] = []
    page = api.registry.store.page

    class Counting:
        """The store, which counts the rows that a list reads."""

        def __getattr__(self, name: str) -> Any:
            return getattr(api.registry.store, name)

        def page(self, *args: Any, **options: Any) -> Any:
            rows = page(*args, **options)
            read.append(len(rows))
            return rows

    target = parse_path(MAPS)
    assert target is not None
    token, shown = "", 0
    while True:
        query = Query(f"limit=20&continue={token}")
        answer = json.loads(bytes(list_objects(cast("Store", Counting()), target, query, Form()).body))
        shown += len(answer["items"])
        if not (token := answer["metadata"].get("continue", "")):
            break
    assert shown == 60
    assert max(read) <= 21


async def test_table_of_custom_resources(api: Api) -> None:
    rule = {"metadata": {"name": "r"}, "spec": {"host": "till"}}
    await api.registry.create("destinationrules.networking.istio.io", "shop", rule, manager="t")
    path = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"
    answer = await api.client(accept=TABLE).get(path)
    (row,) = answer.json()["rows"]
    assert row["cells"][:2] == ["r", "till"]
    assert [each["name"] for each in answer.json()["columnDefinitions"]] == ["Name", "Host", "Age"]


def _peer(each: socket.socket) -> object:
    try:
        return each.getpeername()
    except OSError:  # a listener, or closed
        return None


async def test_answers_do_not_wait_for_acknowledgements(api: Api) -> None:
    """Nagle's delay holds the body of an answer back for 40 ms, until its head is acknowledged."""
    host, _, port = api.url.removeprefix("https://").partition(":")
    context = api.tls("admin")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    ours = writer.get_extra_info("sockname")
    # by type(): isinstance() asks a weak proxy for what it may no longer have
    sockets = [each for each in gc.get_objects() if issubclass(type(each), socket.socket)]
    accepted = [each for each in sockets if _peer(each) == ours]
    assert accepted
    for each in accepted:
        assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
