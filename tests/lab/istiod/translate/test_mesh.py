"""Service to service: identities, hosts outside, the way through another gateway, and what is unknown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, rule, shop, uri
from tests.lab.istiod.translate.rig import GATEWAY_ID, HERE, Ask, Rig

Obj = dict[str, Any]
pytestmark = pytest.mark.lab


def entry(host: str, number: int, resolution: str = "STATIC", **more: Any) -> Obj:
    """A ServiceEntry for a host whose port 80 is really another one of this machine."""
    spec: Obj = {
        "hosts": [host],
        "location": "MESH_EXTERNAL",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": number}],
        "resolution": resolution,
        **more,
    }
    if resolution != "NONE":
        spec["endpoints"] = [{"address": HERE if resolution == "STATIC" else "localhost"}]
    return o.istio("ServiceEntry", "ext", spec)


def test_the_application_sees_who_calls(rig: Rig) -> None:
    strict = o.istio("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}})
    rig.apply([GATEWAY, strict, shop(rule("secure"))])
    rig.check(Ask(to="secure"))
    seen = rig.backends["secure"].asked[-1]["headers"]["x-forwarded-client-cert"]
    assert re.fullmatch(
        rf'By=spiffe://cluster\.local/ns/shop/sa/secure;Hash=[0-9a-f]{{64}};Subject="";URI={GATEWAY_ID}', seen
    ), seen


def test_a_gateway_names_the_client_s_certificate(rig: Rig) -> None:
    tls = {"mode": "MUTUAL", "credentialName": "shop-cert"}
    rig.apply([o.gateway("web", [o.server(["*"], 443, "HTTPS", tls=tls)]), shop(rule(OTHER))])
    rig.check(Ask(via="https", certificate="client.example", to=OTHER))
    seen = rig.backends[OTHER].asked[-1]["headers"]["x-forwarded-client-cert"]
    assert "DNS=client.example" in seen
    assert "Cert=" in seen


@pytest.mark.parametrize("resolution", ["STATIC", "DNS"])
def test_a_host_outside_by_its_endpoints(rig: Rig, resolution: str) -> None:
    number = rig.backends[OTHER].port
    outside = entry("ext.example", number, resolution)
    rig.apply([GATEWAY, outside, shop({"route": [o.to("ext.example", 80)]})])
    rig.check(Ask(to=OTHER))
    rig.check(Ask(via="proxy", host="ext.example", to=OTHER))


def test_through_the_other_gateway(rig: Rig) -> None:
    """mesh → the gateway's Service → the gateway → the host outside, as an egress gateway is set up."""
    number = rig.backends["third"].port
    pod = o.gateway_pod(HERE, ports=rig.ports)
    rig.apply(
        [
            entry("ext.example", number),
            o.gateway("egress", [o.server(["ext.example"])]),
            o.endpoint_slice("istio-ingressgateway", o.SYSTEM, [("http2", rig.ports[8080])], [pod]),
            o.virtual_service(
                "out",
                ["ext.example"],
                [
                    {
                        "match": [{"gateways": ["mesh"], "port": 80}],
                        "route": [o.to("istio-ingressgateway.istio-system.svc.cluster.local", 80)],
                    },
                    {
                        "match": [{"gateways": ["egress"], "port": 80}],
                        "route": [o.to("ext.example", 80)],
                        "headers": {"request": {"set": {"x-through": "egress"}}},
                    },
                ],
                gateways=["mesh", "egress"],
            ),
        ]
    )
    rig.check(Ask(via="proxy", host="ext.example", to="third", seen={"x-through": "egress"}))


def test_what_is_unknown_is_let_through(rig: Rig) -> None:
    rig.apply([GATEWAY])
    number = rig.backends[OTHER].port
    rig.check(Ask(via="proxy", host=f"{HERE}:{number}", to=OTHER))
    rig.check(Ask(via="proxy", host=f"localhost:{number}", to=OTHER))
    rig.check(Ask(via="proxy", host="nobody.invalid", status=503))


def test_a_wildcard_host_outside(rig: Rig) -> None:
    rig.apply([GATEWAY, entry("*.localhost", 80, "NONE")])
    number = rig.backends[OTHER].port
    # Port 80 is the entry's; with another port the name is none of its.
    rig.check(Ask(via="proxy", host=f"localhost:{number}", to=OTHER))


def test_authorization_by_the_calling_sidecar(rig: Rig) -> None:
    """From the sidecar's proxy to its own service: the caller is the sidecar's own identity."""
    only = {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/secure"]}}]}
    rig.apply(
        [
            GATEWAY,
            o.istio("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}),
            o.istio("AuthorizationPolicy", "p", {"rules": [only]}),
            shop(rule("secure", uri("prefix", "/"))),
        ]
    )
    rig.check(Ask(via="proxy", host="secure", to="secure"))
    rig.check(Ask(status=403))
