"""Which route takes a request: matches, precedence, merging, weights."""

from __future__ import annotations

from typing import Any

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.rig import Ask, Case

Obj = dict[str, Any]
GATEWAY = o.gateway("web", [o.server(["*"])])


def rule(to: str, *matches: Obj, **rest: Any) -> Obj:
    found: Obj = {"route": [o.to(to)], **rest}
    if matches:
        found["match"] = list(matches)
    return found


def shop(*rules: Obj, name: str = "shop", hosts: list[str] | None = None, **rest: Any) -> Obj:
    return o.virtual_service(name, hosts or ["shop.example"], list(rules), gateways=["web"], **rest)


def uri(kind: str, value: str, **rest: Any) -> Obj:
    return {"uri": {kind: value}, **rest}


def asks(to: str | None, status: int = 200, **each: Any) -> list[Ask]:
    return [Ask(to=to, status=status, **each)]


def paths(to: str | None, *given: str, status: int = 200) -> list[Ask]:
    return [Ask(path=path, to=to, status=status) for path in given]


OTHER = "other"
THIRD = "third.else.svc.cluster.local"
CASES = [
    Case(
        "exact path",
        [GATEWAY, shop(rule(OTHER, uri("exact", "/healthz")))],
        [
            *paths(OTHER, "/healthz", "/healthz?a=b"),
            *paths(None, "/healthz/", "/health", "/HEALTHZ", "/metrics", "/", "/healthz/x", status=404),
        ],
    ),
    Case(
        "prefix is plain text",
        [GATEWAY, shop(rule(OTHER, uri("prefix", "/foo")))],
        [
            *paths(OTHER, "/foo", "/foobar", "/foo/bar", "/foo?x=1", "/foo/", "/foo//x"),
            *paths(None, "/fo", "/", "/FOO", "/bar/foo", status=404),
        ],
    ),
    Case(
        "regex matches the whole path",
        [GATEWAY, shop(rule(OTHER, uri("regex", "/v[0-9]+/items")))],
        [
            *paths(OTHER, "/v1/items", "/v42/items", "/v1/items?q=1"),
            *paths(None, "/v/items", "/v1/items/2", "/x/v1/items", "/v1/item", status=404),
        ],
    ),
    Case(
        "case of letters",
        [
            GATEWAY,
            shop(
                rule(OTHER, uri("exact", "/Shop", ignoreUriCase=True)),
                rule(THIRD, uri("prefix", "/API", ignoreUriCase=True)),
            ),
        ],
        [
            *paths(OTHER, "/shop", "/SHOP", "/Shop"),
            *paths("third", "/api/x", "/Api", "/API/"),
            *paths(None, "/shop/", status=404),
        ],
    ),
    Case(
        "the first rule that matches",
        [
            GATEWAY,
            shop(
                rule(THIRD, uri("prefix", "/a/b")),
                rule(OTHER, uri("prefix", "/a")),
                rule("web", weight=None),
            ),
        ],
        [
            *paths("third", "/a/b", "/a/bc", "/a/b/c"),
            *paths(OTHER, "/a", "/a/c", "/abc"),
            Ask("/b", gets={"server": "istio-envoy"}),
        ],
    ),
    Case(
        "a shadowed rule never acts",
        [
            GATEWAY,
            shop(rule(OTHER, uri("prefix", "/")), rule(THIRD, uri("exact", "/x"))),
        ],
        paths(OTHER, "/x", "/y", "/"),
    ),
    Case(
        "methods",
        [
            GATEWAY,
            shop(
                rule(OTHER, {"method": {"exact": "GET"}}),
                rule(THIRD, {"method": {"regex": "P(OST|UT)"}}),
            ),
        ],
        [
            Ask(to=OTHER),
            Ask(method="POST", to="third"),
            Ask(method="PUT", to="third"),
            Ask(method="DELETE", status=404),
            Ask(method="PATCH", status=404),
        ],
    ),
    Case(
        "headers",
        [
            GATEWAY,
            shop(
                rule(OTHER, {"headers": {"x-user": {"exact": "ann"}, "x-kind": {"prefix": "te"}}}),
                rule(THIRD, {"headers": {"x-user": {"regex": "b.*b"}}}),
                rule(THIRD, {"headers": {"x-flag": {}}}),
            ),
        ],
        [
            Ask(headers={"x-user": "ann", "x-kind": "test"}, to=OTHER),
            Ask(headers={"X-User": "ann", "X-Kind": "te"}, to=OTHER),
            Ask(headers={"x-user": "ann"}, status=404),
            Ask(headers={"x-user": "Ann", "x-kind": "test"}, status=404),
            Ask(headers={"x-user": "ann", "x-kind": "best"}, status=404),
            Ask(headers={"x-user": "bob"}, to="third"),
            Ask(headers={"x-user": "bobby"}, status=404),
            Ask(headers={"x-flag": "anything"}, to="third"),
            Ask(headers={"x-flag": ""}, to="third"),
            Ask(status=404),
        ],
    ),
    Case(
        "regex star asks for presence",
        [GATEWAY, shop(rule(OTHER, {"headers": {"x-any": {"regex": "*"}}}))],
        [
            Ask(headers={"x-any": "1"}, to=OTHER),
            Ask(headers={"x-any": ""}, to=OTHER),
            Ask(status=404),
        ],
    ),
    Case(
        "without headers",
        [
            GATEWAY,
            shop(
                rule(OTHER, {"withoutHeaders": {"x-old": {}}}),
                rule(THIRD, {"withoutHeaders": {"x-old": {"exact": "yes"}}}),
            ),
        ],
        [
            Ask(to=OTHER),
            Ask(headers={"x-old": "no"}, to="third"),
            Ask(headers={"x-old": "yes"}, status=404),
            Ask(headers={"x-new": "yes"}, to=OTHER),
        ],
    ),
    Case(
        "query parameters",
        [
            GATEWAY,
            shop(
                rule(OTHER, {"queryParams": {"v": {"exact": "2"}}}),
                rule(THIRD, {"queryParams": {"v": {"regex": "[3-5]"}}}),
                rule(THIRD, {"queryParams": {"debug": {}}}),
            ),
        ],
        [
            *paths(OTHER, "/?v=2", "/x?a=1&v=2"),
            *paths("third", "/?v=3", "/?v=5", "/?debug", "/?debug=1"),
            *paths(None, "/", "/?v=22", "/?V=2", "/?v=", status=404),
        ],
    ),
    Case(
        "authority and scheme",
        [
            o.gateway("web", [o.server(["*"])]),
            shop(
                rule(OTHER, {"authority": {"exact": "a.example"}}),
                rule(
                    THIRD,
                    {"authority": {"prefix": "b."}, "scheme": {"exact": "http"}},
                ),
                hosts=["*"],
            ),
        ],
        [
            Ask(host="a.example", to=OTHER),
            Ask(host="b.example", to="third"),
            Ask(host="c.example", status=404),
            Ask(host="a.example:8080", status=404),
        ],
    ),
    Case(
        "the port of the server",
        [
            o.gateway("web", [o.server(["*"]), o.server(["*"], 9090)]),
            shop(rule(OTHER, {"port": 80}), rule("web", {"port": 9090})),
        ],
        [Ask(to=OTHER), Ask(via=9090, gets={"server": "istio-envoy"})],
    ),
    Case(
        "matches of one rule: any; conditions of one match: all",
        [
            GATEWAY,
            shop(
                rule(
                    OTHER,
                    uri("exact", "/a", method={"exact": "GET"}, headers={"x": {"exact": "1"}}),
                    uri("exact", "/b"),
                )
            ),
        ],
        [
            Ask("/a", headers={"x": "1"}, to=OTHER),
            Ask("/a", status=404),
            Ask("/a", method="POST", headers={"x": "1"}, status=404),
            Ask("/b", to=OTHER),
            Ask("/b", method="POST", to=OTHER),
        ],
    ),
    Case(
        "source labels and namespaces of the gateway",
        [
            GATEWAY,
            shop(
                rule(OTHER, uri("prefix", "/a", sourceLabels={"istio": "ingressgateway"})),
                rule(OTHER, uri("prefix", "/b", sourceLabels={"istio": "other"})),
                rule(OTHER, uri("prefix", "/c", sourceNamespace="istio-system")),
                rule(OTHER, uri("prefix", "/d", sourceNamespace="shop")),
                rule(OTHER, uri("prefix", "/e", gateways=["web"])),
                rule(OTHER, uri("prefix", "/f", gateways=["mesh"])),
            ),
        ],
        [*paths(OTHER, "/a", "/c", "/e"), *paths(None, "/b", "/d", "/f", status=404)],
    ),
    Case(
        "two VirtualServices of one host: the older first, catch-alls last",
        [
            GATEWAY,
            shop(rule(THIRD), name="old", age=1),
            shop(rule(OTHER, uri("prefix", "/a")), rule("empty"), name="young", age=2),
        ],
        [*paths(OTHER, "/a", "/ab"), *paths("third", "/", "/b")],
    ),
    Case(
        "of one age: by name",
        [
            GATEWAY,
            shop(rule(THIRD, uri("prefix", "/a")), name="b"),
            shop(rule(OTHER, uri("prefix", "/a")), name="a"),
        ],
        paths(OTHER, "/a"),
    ),
    Case(
        "wildcard hosts: the most specific",
        [
            GATEWAY,
            shop(rule(OTHER), name="wide", hosts=["*.example"]),
            shop(rule(THIRD), name="narrow", hosts=["*.shop.example"]),
            shop(rule("web", uri("exact", "/only")), name="exact", hosts=["a.shop.example"]),
        ],
        [
            Ask(host="x.example", to=OTHER),
            Ask(host="b.shop.example", to="third"),
            Ask(host="b.c.shop.example", to="third"),
            Ask("/only", host="a.shop.example"),
            Ask("/else", host="a.shop.example", status=404),
            Ask(host="example", status=404),
            Ask(host="SHOP.EXAMPLE", to=OTHER),
            Ask(host="shop.example:1234", to=OTHER),
            Ask(host="x.test", status=404),
        ],
    ),
    Case(
        "hosts of the server and of the VirtualService: what they share",
        [
            o.gateway("web", [o.server(["*.shop.example", "shop.example"])]),
            shop(rule(OTHER), name="all", hosts=["*"]),
        ],
        [
            Ask(host="shop.example", to=OTHER),
            Ask(host="a.shop.example", to=OTHER),
            Ask(host="b.example", status=404),
        ],
    ),
    Case(
        "weights are shares; zero gets nothing",
        [
            GATEWAY,
            o.istio(
                "DestinationRule",
                "web",
                {"host": "web", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]},
            ),
            shop(
                {
                    "match": [uri("prefix", "/zero")],
                    "route": [o.to("web", subset="v1", weight=0), o.to("web", subset="v2", weight=1)],
                },
                {"match": [uri("prefix", "/one")], "route": [o.to("web", subset="v1", weight=7)]},
                {"match": [uri("prefix", "/none")], "route": [o.to("web", subset="v3")]},
            ),
        ],
        [
            *paths("v2", "/zero", "/zero", "/zero"),
            *paths("v1", "/one", "/one"),
            *paths(None, "/none", status=503),
        ],
    ),
    Case(
        "destinations that there are not",
        [
            GATEWAY,
            shop(
                rule("nobody", uri("prefix", "/a")),
                rule("empty", uri("prefix", "/b")),
                {"match": [uri("prefix", "/c")], "route": [o.to("other", 81)]},
                {"match": [uri("prefix", "/d")], "route": [o.to(THIRD, 8000)]},
                {"match": [uri("prefix", "/e")], "route": [o.to("third")]},
            ),
        ],
        [*paths(None, "/a", "/b", "/c", "/e", status=503), *paths("third", "/d")],
    ),
]
