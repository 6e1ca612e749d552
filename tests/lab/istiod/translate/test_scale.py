"""One change among a thousand VirtualServices: its cost, and that it does not grow with the square."""

from __future__ import annotations

import time

from meshlib.lab.istiod.translate import Paths, World, proxies, translate
from tests.lab.istiod.translate import objects as o


def world_of(count: int) -> World:
    world = World()
    world.put(o.gateway_pod())
    world.put(o.gateway_service())
    world.put(o.gateway("web", [o.server(["*"])]))
    for index in range(count):
        world.put(o.service(f"s{index}", "shop", {"app": f"a{index}"}, [("http", 80, 8080)], age=index))
        world.put(virtual_service(index, "/a"))
    return world


def virtual_service(index: int, path: str) -> o.Obj:
    rules = [{"match": [{"uri": {"prefix": path}}], "route": [o.to(f"s{index}", 80)]}]
    return o.virtual_service(f"v{index}", [f"h{index}.example"], rules, age=index, gateways=["web"])


def cost_of_a_change(count: int) -> float:
    """Seconds of processor time for one change, the best of three; asserts that the change is there."""
    world = world_of(count)
    (proxy,) = proxies(world)
    translate(world, proxy, Paths("/x"))
    best = float("inf")
    for turn in range(3):
        assert world.put(virtual_service(7, f"/turn{turn}"))
        begun = time.process_time()
        found = translate(world, proxy, Paths("/x"))
        best = min(best, time.process_time() - begun)
        hosts = {host["name"]: host for host in found.routes["http.8080"]["virtual_hosts"]}
        assert hosts["h7.example:80"]["routes"][0]["match"]["prefix"] == f"/turn{turn}"
    return best


def test_one_change_among_a_thousand_takes_less_than_a_second() -> None:
    assert cost_of_a_change(1000) < 1.0


def test_the_cost_of_a_change_does_not_grow_with_the_square() -> None:
    assert cost_of_a_change(1600) < 8 * cost_of_a_change(400)


def test_what_a_change_does_not_touch_stays_the_same_object() -> None:
    world = world_of(20)
    (proxy,) = proxies(world)
    before = translate(world, proxy, Paths("/x"))
    world.put(virtual_service(3, "/new"))
    after = translate(world, proxy, Paths("/x"))
    assert after.routes["http.8080"] is not before.routes["http.8080"]
    assert all(after.clusters[name] is cluster for name, cluster in before.clusters.items())
    assert all(after.listeners[name] is listener for name, listener in before.listeners.items())


def test_noise_is_no_change() -> None:
    world = world_of(2)
    fresh = virtual_service(1, "/a")
    fresh["metadata"] |= {"resourceVersion": "99", "managedFields": [{}], "generation": 4}
    fresh["status"] = {"conditions": []}
    assert not world.put(fresh)
    assert world.put(virtual_service(1, "/b"))
    assert world.remove(fresh)
    assert not world.remove(fresh)
