from __future__ import annotations

from pathlib import Path

import pytest

from meshlib.lab.istiod.translate import Paths, proxies, translate
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.envoys import Authority, validate
from tests.lab.istiod.translate.seed import seed


def test_the_seed_has_the_names_that_istiod_gives() -> None:
    world = seed()
    router, sidecar = sorted(proxies(world), key=lambda proxy: proxy.role)
    found = translate(world, router, Paths("/x"))
    assert list(found.listeners) == ["0.0.0.0_8443"]
    listener = found.listeners["0.0.0.0_8443"]
    chain = listener["filter_chains"][0]
    assert chain["filter_chain_match"] == {"server_names": ["gohttpserver.io"]}
    assert chain["filters"][0]["typed_config"]["stat_prefix"] == "outbound_0.0.0.0_8443"
    ((name, routes),) = found.routes.items()
    assert name == "https.443.gohttpserver-svc.gohttpserver-svc.httpserver-istio"
    host = routes["virtual_hosts"][0]
    assert host["name"] == "gohttpserver.io:443"
    route = host["routes"][0]
    assert route["route"]["cluster"] == "outbound|80||gohttpserver.httpserver-istio.svc.cluster.local"
    assert route["decorator"]["operation"] == "gohttpserver.httpserver-istio.svc.cluster.local:80/healthz"
    assert found.secrets.keys() == {"default", "ROOTCA", "kubernetes://gohttpserver-credential"}
    assert found.problems == []
    inside = translate(world, sidecar, Paths("/y"))
    assert set(inside.listeners) == {"virtualInbound", "virtualOutbound"}
    assert "inbound|81||" in inside.clusters
    names = {chain["name"] for chain in inside.listeners["virtualInbound"]["filter_chains"]}
    assert "0.0.0.0_81" in names


@pytest.mark.lab
def test_envoy_takes_the_seed(tmp_path: Path) -> None:
    world = seed()
    for proxy in proxies(world):
        paths = Paths(f"{tmp_path}/{proxy.uid}")
        validate(translate(world, proxy, paths), paths, tmp_path, Authority())


def test_an_expression_that_envoy_would_refuse_takes_its_own_route_down_only() -> None:
    world = seed()
    bad = {"match": [{"uri": {"regex": "(?=a)b"}}], "route": [o.to("gohttpserver", 80)]}
    rewrite = {"uriRegexRewrite": {"match": "(a)\\1", "rewrite": "b"}}
    good = {"match": [{"uri": {"prefix": "/a"}}], "route": [o.to("gohttpserver", 80)]}
    rules = [bad, {**good, "rewrite": rewrite}, good]
    world.put(
        o.virtual_service(
            "second", ["gohttpserver.io"], rules, "httpserver-istio", 5, gateways=["gohttpserver-svc"]
        )
    )
    router = next(proxy for proxy in proxies(world) if proxy.role == "router")
    found = translate(world, router, Paths("/x"))
    (routes,) = found.routes.values()
    assert [route["match"] for route in routes["virtual_hosts"][0]["routes"]] == [
        {"path": "/healthz", "case_sensitive": True},
        {"prefix": "/a", "case_sensitive": True},
    ]
    assert [problem.object for problem in found.problems] == ["VirtualService httpserver-istio/second"] * 2


def test_a_malformed_route_takes_no_other_down() -> None:
    world = seed()
    rules = [
        {"match": [{"uri": {"prefix": "/r"}}], "redirect": {"uri": "/x", "redirectCode": 399}},
        {"match": [{"uri": {"prefix": "/t"}}], "route": [o.to("a")], "timeout": "soon"},
        {"match": [{"uri": {"prefix": "/n"}}], "route": []},
        {"match": [{"uri": {"prefix": "/good"}}], "route": [o.to("gohttpserver", 80)]},
    ]
    world.put(
        o.virtual_service(
            "second", ["gohttpserver.io"], rules, "httpserver-istio", 5, gateways=["gohttpserver-svc"]
        )
    )
    router = next(proxy for proxy in proxies(world) if proxy.role == "router")
    found = translate(world, router, Paths("/x"))
    (routes,) = found.routes.values()
    paths = [next(iter(route["match"].values())) for route in routes["virtual_hosts"][0]["routes"]]
    assert paths == ["/healthz", "/good"]
    assert len(found.problems) == 3


def test_a_denial_with_a_value_that_nobody_knows_denies_more_not_less() -> None:
    world = seed()
    source = {"source": {"ipBlocks": ["nonsense"]}}
    rules = [{"from": [source], "to": [{"operation": {"paths": ["/x"]}}]}]
    world.put(o.istio("AuthorizationPolicy", "p", {"action": "DENY", "rules": rules}, o.SYSTEM))
    router = next(proxy for proxy in proxies(world) if proxy.role == "router")
    found = translate(world, router, Paths("/x"))
    chain = found.listeners["0.0.0.0_8443"]["filter_chains"][0]
    rbac = chain["filters"][0]["typed_config"]["http_filters"][0]["typed_config"]["rules"]
    (rule,) = rbac["policies"].values()
    assert rule["principals"] == [{"and_ids": {"ids": [{"any": True}]}}]
    assert "nonsense" in found.problems[0].text


def test_a_malformed_destination_rule_leaves_its_service_reachable() -> None:
    world = seed()
    spec = {
        "host": "gohttpserver",
        "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "soon"}}},
    }
    world.put(o.istio("DestinationRule", "bad", spec, "httpserver-istio"))
    router = next(proxy for proxy in proxies(world) if proxy.role == "router")
    found = translate(world, router, Paths("/x"))
    cluster = found.clusters["outbound|80||gohttpserver.httpserver-istio.svc.cluster.local"]
    assert cluster["connect_timeout"] == "10s"
    assert [problem.object for problem in found.problems] == ["DestinationRule httpserver-istio/bad"]
