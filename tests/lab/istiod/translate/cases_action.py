"""What a route does with a request: rewrite, redirect, answer, headers, CORS, faults, mirrors, hashes."""

from __future__ import annotations

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, THIRD, rule, shop, uri
from tests.lab.istiod.translate.rig import Ask, Case

ORIGIN = {"origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "PUT"}
ALWAYS = {"percentage": {"value": 100}}
CASES = [
    Case(
        "rewrite of a prefix, with its traps",
        [
            GATEWAY,
            shop(
                rule(OTHER, uri("prefix", "/api/"), rewrite={"uri": "/"}),
                rule(OTHER, uri("prefix", "/old"), rewrite={"uri": "/new"}),
                rule(OTHER, uri("prefix", "/trap"), rewrite={"uri": "/"}),
                rule(OTHER, uri("exact", "/exact"), rewrite={"uri": "/whole"}),
            ),
        ],
        [
            Ask("/api/items", to=OTHER, seen_path="/items"),
            Ask("/api/items?a=1", to=OTHER, seen_path="/items?a=1"),
            Ask("/old/x", to=OTHER, seen_path="/new/x"),
            Ask("/oldie", to=OTHER, seen_path="/newie"),
            Ask("/trap/x", to=OTHER, seen_path="//x"),
            Ask("/exact", to=OTHER, seen_path="/whole"),
            Ask("/api/x", to=OTHER, seen={"x-envoy-original-path": "/api/x"}),
        ],
    ),
    Case(
        "rewrite of authority and by regex",
        [
            GATEWAY,
            shop(
                rule(OTHER, uri("prefix", "/a"), rewrite={"authority": "inner.example"}),
                rule(
                    OTHER,
                    uri("prefix", "/users/"),
                    rewrite={"uriRegexRewrite": {"match": "/users/([^/]+)/(.*)", "rewrite": "/\\2/of/\\1"}},
                ),
                rule(OTHER, uri("prefix", "/both"), rewrite={"uri": "/b", "authority": "b.example"}),
            ),
        ],
        [
            Ask("/a", to=OTHER, seen={"host": "inner.example"}, seen_path="/a"),
            Ask("/users/ann/books", to=OTHER, seen_path="/books/of/ann"),
            Ask("/both/x", to=OTHER, seen_path="/b/x", seen={"host": "b.example"}),
        ],
    ),
    Case(
        "redirects",
        [
            GATEWAY,
            shop(
                {"match": [uri("exact", "/a")], "redirect": {"uri": "/b"}},
                {"match": [uri("exact", "/c")], "redirect": {"authority": "d.example", "redirectCode": 302}},
                {"match": [uri("exact", "/e")], "redirect": {"scheme": "https", "redirectCode": 308}},
                {"match": [uri("exact", "/f")], "redirect": {"port": 8443, "redirectCode": 307}},
                {
                    "match": [uri("exact", "/g")],
                    "redirect": {"derivePort": "FROM_REQUEST_PORT", "redirectCode": 303},
                },
            ),
        ],
        [
            Ask("/a", status=301, gets={"location": "http://shop.example/b"}),
            Ask("/a?q=1", status=301, gets={"location": "http://shop.example/b?q=1"}),
            Ask("/c", status=302, gets={"location": "http://d.example/c"}),
            Ask("/e", status=308, gets={"location": "https://shop.example/e"}),
            Ask("/f", status=307, gets={"location": "http://shop.example:8443/f"}),
            Ask("/g", status=303, gets={"location": "http://shop.example/g"}),
        ],
    ),
    Case(
        "direct responses",
        [
            GATEWAY,
            shop(
                {
                    "match": [uri("exact", "/a")],
                    "directResponse": {"status": 418, "body": {"string": "teapot"}},
                },
                {"match": [uri("exact", "/b")], "directResponse": {"status": 204}},
                {"match": [uri("exact", "/c")], "directResponse": {"status": 200, "body": {"bytes": "aGk="}}},
                {
                    "match": [uri("exact", "/d")],
                    "directResponse": {"status": 503},
                    "headers": {"response": {"set": {"retry-after": "7"}}},
                },
            ),
        ],
        [
            Ask("/a", status=418, body="teapot"),
            Ask("/b", status=204),
            Ask("/c", body="hi"),
            Ask("/d", status=503, gets={"retry-after": "7"}),
        ],
    ),
    Case(
        "headers set, added, removed on the route",
        [
            GATEWAY,
            shop(
                {
                    **rule(OTHER),
                    "headers": {
                        "request": {"set": {"x-set": "new"}, "add": {"x-add": "two"}, "remove": ["x-gone"]},
                        "response": {"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["x-backend"]},
                    },
                }
            ),
        ],
        [
            Ask(
                to=OTHER,
                seen={"x-set": "new", "x-add": "two"},
                gets={"x-a": "1", "x-b": "2", "x-backend": None},
            ),
            Ask(headers={"x-set": "old"}, to=OTHER, seen={"x-set": "new"}),
            Ask(headers={"x-gone": "1"}, to=OTHER, seen={"x-gone": None}),
        ],
    ),
    Case(
        "headers on the destination",
        [
            GATEWAY,
            shop(
                {
                    "match": [uri("prefix", "/one")],
                    "route": [o.to(OTHER, headers={"request": {"set": {"x-d": "1", "host": "set.example"}}})],
                },
                {
                    "match": [uri("prefix", "/two")],
                    "route": [
                        o.to(OTHER, weight=1, headers={"response": {"set": {"x-w": "other"}}}),
                        o.to(THIRD, 80, weight=0, headers={"response": {"set": {"x-w": "third"}}}),
                    ],
                },
            ),
        ],
        [
            Ask("/one", to=OTHER, seen={"x-d": "1", "host": "set.example"}),
            Ask("/two", to=OTHER, gets={"x-w": "other"}),
        ],
    ),
    Case(
        "what the gateway adds for the application",
        [GATEWAY, shop(rule(OTHER))],
        [
            Ask(
                to=OTHER,
                seen={
                    "x-forwarded-proto": "http",
                    "x-envoy-attempt-count": "1",
                },
            ),
            Ask(
                headers={"x-forwarded-client-cert": "forged"},
                to=OTHER,
                seen={"x-forwarded-client-cert": None},
            ),
            Ask(to=OTHER, seen={"x-envoy-decorator-operation": "other.shop.svc.cluster.local:80/*"}),
            Ask(to=OTHER, gets={"server": "istio-envoy"}),
        ],
    ),
    Case(
        "CORS",
        [
            GATEWAY,
            shop(
                rule(
                    OTHER,
                    corsPolicy={
                        "allowOrigins": [
                            {"exact": "https://app.example"},
                            {"regex": "https://.*\\.ok\\.example"},
                        ],
                        "allowMethods": ["GET", "PUT"],
                        "allowHeaders": ["x-a", "x-b"],
                        "exposeHeaders": ["x-c"],
                        "maxAge": "1h",
                        "allowCredentials": True,
                    },
                )
            ),
        ],
        [
            Ask(
                method="OPTIONS",
                headers=PREFLIGHT,
                gets={
                    "access-control-allow-origin": "https://app.example",
                    "access-control-allow-methods": "GET,PUT",
                    "access-control-allow-headers": "x-a,x-b",
                    "access-control-max-age": "3600",
                    "access-control-allow-credentials": "true",
                },
            ),
            Ask(headers=ORIGIN, to=OTHER, gets={"access-control-allow-origin": "https://app.example"}),
            Ask(headers=ORIGIN, to=OTHER, gets={"access-control-expose-headers": "x-c"}),
            Ask(
                headers={"origin": "https://a.ok.example"},
                to=OTHER,
                gets={"access-control-allow-origin": "https://a.ok.example"},
            ),
            Ask(
                headers={"origin": "https://bad.example"},
                to=OTHER,
                gets={"access-control-allow-origin": None},
            ),
            Ask(method="OPTIONS", headers={**PREFLIGHT, "origin": "https://bad.example"}, to=OTHER),
        ],
    ),
    Case(
        "CORS that ends unmatched preflights",
        [
            GATEWAY,
            shop(
                rule(
                    OTHER,
                    corsPolicy={
                        "allowOrigins": [{"prefix": "https://app."}],
                        "unmatchedPreflights": "IGNORE",
                    },
                )
            ),
        ],
        [
            Ask(method="OPTIONS", headers={**PREFLIGHT, "origin": "https://bad.example"}, status=200),
            Ask(headers=ORIGIN, to=OTHER, gets={"access-control-allow-origin": "https://app.example"}),
        ],
    ),
    Case(
        "faults",
        [
            GATEWAY,
            shop(
                rule(
                    OTHER,
                    uri("exact", "/abort"),
                    fault={"abort": {"httpStatus": 429, **ALWAYS}},
                ),
                rule(
                    OTHER,
                    uri("exact", "/never"),
                    fault={"abort": {"httpStatus": 429, "percentage": {"value": 0}}},
                ),
                rule(OTHER, uri("exact", "/unset"), fault={"abort": {"httpStatus": 429}}),
                rule(
                    OTHER,
                    uri("exact", "/slow"),
                    fault={"delay": {"fixedDelay": "0.2s", "percentage": {"value": 100}}},
                ),
                rule(OTHER, uri("exact", "/notslow"), fault={"delay": {"fixedDelay": "9s"}}),
                rule(
                    OTHER,
                    uri("exact", "/grpc"),
                    fault={"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}}},
                ),
            ),
        ],
        [
            Ask("/abort", status=429, body="fault filter abort"),
            Ask("/never", to=OTHER),
            Ask("/unset", to=OTHER),
            Ask("/slow", to=OTHER, least_s=0.2),
            Ask("/notslow", to=OTHER),
            Ask("/grpc", body="fault filter abort"),
        ],
    ),
    Case(
        "timeout",
        [
            GATEWAY,
            shop(
                rule(
                    OTHER,
                    uri("exact", "/late"),
                    timeout="0.1s",
                    fault={"delay": {"fixedDelay": "0.05s", "percentage": {"value": 100}}},
                ),
                rule("slow", uri("exact", "/slow"), timeout="100ms"),
            ),
            o.istio(
                "ServiceEntry",
                "slow",
                {
                    "hosts": ["slow.shop.svc.cluster.local"],
                    "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                    "resolution": "STATIC",
                    "endpoints": [{"address": "127.0.0.3", "ports": {"http": 9}}],
                },
            ),
        ],
        [Ask("/late", to=OTHER, least_s=0.05), Ask("/slow", status=503)],
    ),
    Case(
        "mirrors do not change the answer",
        [
            GATEWAY,
            shop(
                rule(OTHER, uri("prefix", "/a"), mirror={"host": THIRD, "port": {"number": 80}}),
                rule(
                    OTHER,
                    uri("prefix", "/b"),
                    mirrors=[
                        {"destination": {"host": THIRD, "port": {"number": 80}}, "percentage": {"value": 50}}
                    ],
                ),
                rule(OTHER, uri("prefix", "/c"), mirror={"host": "nobody"}, mirrorPercentage={"value": 100}),
            ),
        ],
        [Ask(path, to=OTHER) for path in ("/a", "/b", "/c")],
    ),
    Case(
        "consistent hash by header",
        [
            GATEWAY,
            o.istio(
                "DestinationRule",
                "web",
                {
                    "host": "web",
                    "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
                    "subsets": [
                        {
                            "name": "cookie",
                            "labels": {"app": "web"},
                            "trafficPolicy": {
                                "loadBalancer": {
                                    "consistentHash": {"httpCookie": {"name": "c", "ttl": "60s"}}
                                }
                            },
                        }
                    ],
                },
            ),
            shop(
                {"match": [uri("prefix", "/cookie")], "route": [o.to("web", subset="cookie")]},
                rule("web"),
            ),
        ],
        [
            Ask(headers={"x-user": "ann"}),
            Ask(headers={"x-user": "bob"}),
            Ask("/cookie", headers={"cookie": "c=1"}, gets={"set-cookie": None}),
        ],
    ),
    Case(
        "a whole policy of load, pool and outliers is taken",
        [
            GATEWAY,
            o.istio(
                "DestinationRule",
                "other",
                {
                    "host": "other.shop.svc.cluster.local",
                    "trafficPolicy": {
                        "loadBalancer": {"simple": "ROUND_ROBIN", "warmupDurationSecs": "10s"},
                        "connectionPool": {
                            "tcp": {
                                "maxConnections": 5,
                                "connectTimeout": "1s",
                                "tcpKeepalive": {"time": "7200s", "interval": "75s", "probes": 3},
                            },
                            "http": {
                                "http1MaxPendingRequests": 3,
                                "maxRequestsPerConnection": 2,
                                "idleTimeout": "5s",
                            },
                        },
                        "outlierDetection": {
                            "consecutive5xxErrors": 3,
                            "consecutiveGatewayErrors": 0,
                            "interval": "1s",
                            "baseEjectionTime": "3m",
                            "maxEjectionPercent": 100,
                            "minHealthPercent": 10,
                        },
                        "portLevelSettings": [{"port": {"number": 81}, "loadBalancer": {"simple": "RANDOM"}}],
                    },
                },
            ),
            shop(rule(OTHER)),
        ],
        [Ask(to=OTHER), Ask("/x", to=OTHER), Ask("/y", to=OTHER)],
    ),
    Case(
        "plain http of a host outside, and one that is TLS there",
        [
            GATEWAY,
            o.istio(
                "DestinationRule",
                "third",
                {"host": THIRD, "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "x.example"}}},
                "else",
            ),
            shop({"route": [o.to(THIRD, 80)]}),
        ],
        [Ask(status=503)],
    ),
]
