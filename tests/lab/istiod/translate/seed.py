"""The lab of the exercise: one HTTP server behind an ingress gateway, with a certificate."""

from __future__ import annotations

from meshlib.lab.istiod.translate import World
from tests.lab.istiod.translate import objects as o


def seed(image: str = "docker.io/istio/proxyv2:1.29.2") -> World:
    """The lab that the seed describes, with mutual TLS between the gateway and one sidecar."""
    world = World()
    app = o.proxy_pod(
        "gohttpserver-1",
        "httpserver-istio",
        "127.9.1.2",
        {"app": "gohttpserver", "security.istio.io/tlsMode": "istio"},
        role="sidecar",
        image=image,
        inside="127.9.64.2",
        app_ports=[{"name": "server-port", "containerPort": 81}],
        ports={81: 40081, 15001: 15001, 15006: 15006},
    )
    for item in (
        o.gateway_pod(ports={8080: 8080, 8443: 8443}, image=image),
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
