from __future__ import annotations

from pathlib import Path

import pytest

from meshlib.lab.istiod.translate import Paths, World, proxies, translate
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.envoys import Authority, validate


def seed() -> World:
    """The lab that the seed describes, with mutual TLS between the gateway and one sidecar."""
    world = World()
    app = o.proxy_pod(
        "gohttpserver-1",
        "httpserver-istio",
        "127.9.1.2",
        {"app": "gohttpserver", "security.istio.io/tlsMode": "istio"},
        role="sidecar",
        inside="127.9.64.2",
        app_ports=[{"name": "server-port", "containerPort": 81}],
        ports={81: 40081, 15001: 15001, 15006: 15006},
    )
    for item in (
        o.gateway_pod(ports={8080: 8080, 8443: 8443}),
        o.gateway_service(
            cluster_ip="127.9.128.1", status={"loadBalancer": {"ingress": [{"ip": "127.9.255.1"}]}}
        ),
        app,
        o.service("gohttpserver", "httpserver-istio", {"app": "gohttpserver"}, [("", 80, 81)]),
        o.endpoint_slice("gohttpserver", "httpserver-istio", [("", 40081)], [app]),
        o.gateway(
            "gohttpserver-svc",
            [
                o.server(
                    ["gohttpserver.io"],
                    443,
                    "HTTPS",
                    "gohttpserver-svc",
                    tls={"mode": "SIMPLE", "credentialName": "gohttpserver-credential"},
                )
            ],
            "httpserver-istio",
        ),
        o.virtual_service(
            "gohttpserver-svc",
            ["gohttpserver.io"],
            [{"match": [{"uri": {"exact": "/healthz"}}], "route": [o.to("gohttpserver", 80)]}],
            "httpserver-istio",
            gateways=["gohttpserver-svc"],
        ),
    ):
        assert world.put(item)
    return world


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
