"""Whole results of the translator, compared with files.

`MESHLIB_UPDATE_GOLDEN=1 python -m pytest tests/lab/istiod/translate/test_golden.py` writes them anew; the
difference then shows in the review.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from meshlib.lab.istiod.translate import Paths, World, proxies, translate
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.seed import seed

GOLDEN = Path(__file__).parents[3] / "golden" / "translate"
JAEGER = """
accessLogFile: /dev/stdout
extensionProviders:
- name: jaeger
  opentelemetry:
    service: jaeger-collector.istio-system.svc.cluster.local
    port: 4317
- name: zipkin
  zipkin:
    service: zipkin.istio-system.svc.cluster.local
    port: 9411
"""


def traced(provider: str, image: str) -> World:
    """The seed with a trace store and a Telemetry object that names a provider."""
    world = seed(image)
    for name, port in (("jaeger-collector", 4317), ("zipkin", 9411)):
        protocol = "grpc-otlp" if port == 4317 else "http"
        world.put(o.service(name, o.SYSTEM, {"app": "jaeger"}, [(protocol, port, port)]))
    world.put(o.mesh(JAEGER))
    spec = {"tracing": [{"providers": [{"name": provider}], "randomSamplingPercentage": 100}]}
    world.put(o.istio("Telemetry", "default", spec, o.SYSTEM))
    return world


def secured() -> World:
    """The seed with STRICT mutual TLS, a token and policies on both sides."""
    world = seed()
    namespace = "httpserver-istio"
    key = '{"keys":[]}'
    rules = [{"to": [{"operation": {"paths": ["/healthz"], "methods": ["GET"]}}]}]
    who = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
    for item in (
        o.istio("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}, o.SYSTEM),
        o.istio(
            "RequestAuthentication",
            "jwt",
            {"jwtRules": [{"issuer": "https://a.example", "jwks": key, "audiences": ["x"]}]},
            o.SYSTEM,
        ),
        o.istio("AuthorizationPolicy", "edge", {"rules": rules}, o.SYSTEM),
        o.istio(
            "AuthorizationPolicy",
            "inner",
            {"action": "DENY", "rules": [{"from": [{"source": {"notPrincipals": [who]}}]}]},
            namespace,
        ),
    ):
        world.put(item)
    return world


WORLDS = {
    "seed-1.19": lambda: seed("docker.io/istio/proxyv2:1.19.3"),
    "seed-1.29": lambda: seed("docker.io/istio/proxyv2:1.29.2"),
    "zipkin-1.19": lambda: traced("zipkin", "docker.io/istio/proxyv2:1.19.3"),
    "opentelemetry-1.29": lambda: traced("jaeger", "docker.io/istio/proxyv2:1.29.2"),
    "secured": secured,
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_result_is_the_golden_one(name: str) -> None:
    world = WORLDS[name]()
    found = {}
    for proxy in proxies(world):
        resources = translate(world, proxy, Paths(f"/xds/{proxy.name}"))
        found[proxy.name] = dataclasses.asdict(resources)
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("MESHLIB_UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert text == file.read_text(), f"{file} differs; see the top of this test for how to write it anew"
