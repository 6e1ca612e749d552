"""Which server of which Gateway takes a connection: ports, hosts, TLS, merging and conflicts."""

from __future__ import annotations

import ssl
from typing import Any

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import OTHER, THIRD, rule, shop, uri
from tests.lab.istiod.translate.rig import Ask, Case

Obj = dict[str, Any]
V = ssl.TLSVersion
OLD = (V.TLSv1_2, V.TLSv1_2)
NEW = (V.TLSv1_3, V.TLSv1_3)


def https(hosts: list[str], mode: str = "SIMPLE", name: str = "https", **tls: Any) -> Obj:
    settings = {"mode": mode, "credentialName": "shop-cert", **tls}
    return o.server(hosts, 443, "HTTPS", name, tls=settings)


CASES = [
    Case(
        "SIMPLE TLS",
        [o.gateway("web", [https(["shop.example"])]), shop(rule(OTHER))],
        [
            Ask(via="https", to=OTHER, seen={"x-forwarded-proto": "https"}),
            Ask(via="https", host="shop.example:443", sni="shop.example", to=OTHER),
            Ask(via="https", host="nobody.example", sni="nobody.example", refused=True),
            Ask(via="https", sni="", refused=True),
            Ask(via="https", tls=OLD, to=OTHER),
            Ask(via="https", tls=NEW, to=OTHER),
            Ask(via="http", refused=True),
            Ask(via="https", host="b.example", sni="shop.example", status=404),
        ],
    ),
    Case(
        "minimum TLS version",
        [o.gateway("web", [https(["shop.example"], minProtocolVersion="TLSV1_3")]), shop(rule(OTHER))],
        [Ask(via="https", tls=NEW, to=OTHER), Ask(via="https", tls=OLD, refused=True)],
    ),
    Case(
        "maximum TLS version and ciphers",
        [
            o.gateway(
                "web",
                [
                    https(
                        ["shop.example"],
                        maxProtocolVersion="TLSV1_2",
                        cipherSuites=["ECDHE-ECDSA-AES256-GCM-SHA384"],
                    )
                ],
            ),
            shop(rule(OTHER)),
        ],
        [Ask(via="https", tls=OLD, to=OTHER), Ask(via="https", tls=NEW, refused=True)],
    ),
    Case(
        "MUTUAL TLS",
        [o.gateway("web", [https(["shop.example"], "MUTUAL")]), shop(rule(OTHER))],
        [
            Ask(via="https", tls=OLD, refused=True),
            Ask(via="https", certificate="client.example", to=OTHER),
            Ask("/x", via="https", certificate="spiffe://a/b", to=OTHER),
        ],
    ),
    Case(
        "MUTUAL TLS for one name",
        [
            o.gateway("web", [https(["shop.example"], "MUTUAL", subjectAltNames=["client.example"])]),
            shop(rule(OTHER)),
        ],
        [
            Ask(via="https", certificate="client.example", to=OTHER),
            Ask(via="https", tls=OLD, certificate="stranger.example", refused=True),
        ],
    ),
    Case(
        "OPTIONAL_MUTUAL TLS",
        [o.gateway("web", [https(["shop.example"], "OPTIONAL_MUTUAL")]), shop(rule(OTHER))],
        [
            Ask(via="https", to=OTHER, seen={"x-forwarded-client-cert": None}),
            Ask(via="https", certificate="client.example", to=OTHER),
        ],
    ),
    Case(
        "ISTIO_MUTUAL at a gateway",
        [
            o.gateway("web", [o.server(["shop.example"], 443, "HTTPS", tls={"mode": "ISTIO_MUTUAL"})]),
            shop(rule(OTHER)),
        ],
        [Ask(via="https", tls=OLD, refused=True)],
    ),
    Case(
        "several servers on one port, each with its own routes",
        [
            o.gateway(
                "web",
                [
                    https(["shop.example"], name="https-a"),
                    https(["*.shop.example"], name="https-b"),
                    https(["other.example"], name="https-c", credentialName="other-cert"),
                ],
            ),
            shop(rule(OTHER)),
            shop(rule(THIRD, uri("prefix", "/")), name="sub", hosts=["a.shop.example"]),
            shop(rule("web"), name="other", hosts=["other.example"]),
        ],
        [
            Ask(via="https", to=OTHER),
            Ask(via="https", host="a.shop.example", status=503),
            Ask(via="https", host="b.shop.example", status=404),
            Ask(via="https", host="other.example"),
            Ask(via="https", host="shop.example", sni="other.example", status=404),
        ],
    ),
    Case(
        "redirect to HTTPS",
        [
            o.gateway(
                "web",
                [o.server(["shop.example"], tls={"httpsRedirect": True}), https(["shop.example"])],
            ),
            shop(rule(OTHER)),
        ],
        [
            Ask("/a?b=c", status=301, gets={"location": "https://shop.example/a?b=c"}),
            Ask(host="shop.example:80", status=301),
            Ask(via="https", to=OTHER),
            Ask(host="x.example", status=404),
        ],
    ),
    Case(
        "redirect to HTTPS without any route",
        [o.gateway("web", [o.server(["shop.example", "b.example"], tls={"httpsRedirect": True})])],
        [
            Ask("/x", status=301, gets={"location": "https://shop.example/x"}),
            Ask(host="b.example", status=301),
            Ask(host="c.example", status=404),
        ],
    ),
    Case(
        "a server without routes answers 404",
        [o.gateway("web", [o.server(["shop.example"])])],
        [Ask(status=404), Ask("/x", host="y.example", status=404)],
    ),
    Case(
        "Gateways merge on a port",
        [
            o.gateway("web", [o.server(["shop.example"])], age=1),
            o.gateway("web2", [o.server(["b.example"])], "else", age=2),
            shop(rule(OTHER)),
            o.virtual_service("b", ["b.example"], [rule("web")], gateways=["else/web2"]),
        ],
        [Ask(to=OTHER), Ask(host="b.example"), Ask(host="c.example", status=404)],
    ),
    Case(
        "of two TLS servers with one host the older stays",
        [
            o.gateway("young", [https(["shop.example"])], age=5),
            o.gateway("old", [https(["shop.example"])], age=1),
            o.virtual_service("y", ["shop.example"], [rule("web")], gateways=["young"]),
            o.virtual_service("o", ["shop.example"], [rule(OTHER)], gateways=["old"]),
        ],
        [Ask(via="https", to=OTHER)],
    ),
    Case(
        "plain text and TLS cannot share a port: the older stays",
        [
            o.gateway("old", [o.server(["*"], 443, "HTTP")], age=1),
            o.gateway("young", [https(["shop.example"])], age=2),
            o.virtual_service("o", ["shop.example"], [rule(OTHER)], gateways=["old", "young"]),
        ],
        [Ask(via=8443, to=OTHER), Ask(via="https", refused=True)],
    ),
    Case(
        "hosts with namespaces",
        [
            o.gateway(
                "web",
                [o.server(["shop/a.example", "./b.example", "*/c.example", "else/d.example"])],
                "istio-system",
            ),
            *(
                o.virtual_service(
                    f"v-{name}-{space}",
                    [f"{name}.example"],
                    [
                        {
                            "route": [
                                o.to(
                                    "other.shop.svc.cluster.local"
                                    if space == "shop"
                                    else "web.shop.svc.cluster.local"
                                )
                            ]
                        }
                    ],
                    space,
                    gateways=["istio-system/web"],
                )
                for name in ("a", "b", "c", "d")
                for space in ("shop", "else")
            ),
        ],
        [
            Ask(host="a.example", to=OTHER),
            Ask(host="b.example", status=404),
            Ask(host="d.example"),
            Ask(host="c.example"),
        ],
    ),
    Case(
        "a VirtualService that is not shown to the gateway's namespace",
        [
            o.gateway("web", [o.server(["*"])]),
            shop(rule(OTHER), name="hidden", hosts=["hidden.example"], exportTo=["."]),
            shop(rule(OTHER), name="none", hosts=["none.example"], exportTo=["~"]),
            shop(rule(OTHER), name="shown", hosts=["shown.example"], exportTo=["istio-system"]),
            shop(rule(OTHER), name="wrong", hosts=["wrong.example"], exportTo=["else"]),
        ],
        [
            Ask(host="hidden.example", status=404),
            Ask(host="none.example", status=404),
            Ask(host="shown.example", to=OTHER),
            Ask(host="wrong.example", status=404),
        ],
    ),
    Case(
        "a selector that selects another workload",
        [o.gateway("web", [o.server(["*"])], selector={"istio": "egressgateway"}), shop(rule(OTHER))],
        [Ask(refused=True)],
    ),
    Case(
        "no selector: every gateway",
        [o.gateway("web", [o.server(["*"])], selector={}), shop(rule(OTHER))],
        [Ask(to=OTHER)],
    ),
    Case(
        "TCP",
        [
            o.gateway("web", [o.server(["*"], 31400, "TCP")]),
            o.virtual_service(
                "t", ["*"], gateways=["web"], tcp=[{"match": [{"port": 31400}], "route": [o.to(OTHER, 80)]}]
            ),
        ],
        [
            Ask(via=31400, to=OTHER, seen={"x-forwarded-proto": None}),
            Ask("/y", via=31400, host="any", to=OTHER),
        ],
    ),
    Case(
        "TLS passed on by its name, to a server that ends it",
        [
            o.gateway(
                "web",
                [
                    o.server(["pass.example"], 443, "TLS", tls={"mode": "PASSTHROUGH"}),
                ],
                age=1,
            ),
            o.gateway(
                "inner",
                [
                    o.server(
                        ["x.example"],
                        9090,
                        "HTTPS",
                        "inner",
                        tls={"mode": "SIMPLE", "credentialName": "shop-cert"},
                    )
                ],
                age=2,
            ),
            o.virtual_service(
                "p",
                ["pass.example"],
                gateways=["web"],
                tls=[{"match": [{"port": 443, "sniHosts": ["pass.example"]}], "route": [o.to(OTHER, 80)]}],
            ),
        ],
        # The backend speaks no TLS, so that the handshake fails; other names find no chain at all.
        [
            Ask(via="https", host="pass.example", refused=True),
            Ask(via="https", host="else.example", refused=True),
        ],
    ),
]
