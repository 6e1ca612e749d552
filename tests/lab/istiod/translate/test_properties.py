"""Random valid objects: Envoy takes what becomes of them, and each request goes where it must.

The oracle below knows the rules of matching from Istio's documentation only; it shares no code with the
translator.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from meshlib.lab.istiod.translate import Paths, World, proxies, translate
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.envoys import Authority, validate
from tests.lab.istiod.translate.rig import Ask, Rig

Obj = dict[str, Any]
pytestmark = pytest.mark.lab
WORDS = ["a", "b", "ab", "A", "a.b", "x-y"]
PATHS = ["/", "/a", "/a/", "/a/b", "/ab", "/A", "/b", "/a.b", "/a/b/c"]
PATTERNS = ["/a.*", ".*b", "/[ab]+", "/a/.+", "/.", "a"]
word = st.sampled_from(WORDS)
path = st.sampled_from(PATHS)


def string_match(values: st.SearchStrategy[str], patterns: list[str]) -> st.SearchStrategy[Obj]:
    return st.one_of(
        values.map(lambda v: {"exact": v}),
        values.map(lambda v: {"prefix": v}),
        st.sampled_from(patterns).map(lambda v: {"regex": v}),
    )


words = string_match(word, ["a.*", ".*", "[ab]+", "*"])
matches = st.fixed_dictionaries(
    {},
    optional={
        "uri": string_match(path, PATTERNS),
        "ignoreUriCase": st.booleans(),
        "method": string_match(st.sampled_from(["GET", "POST", "P"]), ["P.*", "GET|PUT"]),
        "headers": st.dictionaries(st.sampled_from(["x-a", "x-b"]), words, max_size=2),
        "withoutHeaders": st.dictionaries(st.sampled_from(["x-a", "x-c"]), words, max_size=1),
        "queryParams": st.dictionaries(st.sampled_from(["p", "q"]), words, max_size=2),
    },
)
rules = st.lists(st.lists(matches, max_size=3), min_size=1, max_size=5)
requests = st.fixed_dictionaries(
    {
        "path": path,
        "query": st.sampled_from(["", "?p=a", "?p=ab&q=b", "?q", "?q=", "?P=a"]),
        "method": st.sampled_from(["GET", "POST", "PUT"]),
        "headers": st.dictionaries(st.sampled_from(["x-a", "x-b", "x-c"]), word, max_size=3),
    }
)


def agrees(match: Obj | None, value: str, *, ignore_case: bool = False) -> bool:
    """A StringMatch on a value that is there."""
    if not match or match == {"regex": "*"}:
        return True
    ((kind, wanted),) = match.items()
    if kind == "regex":
        return re.fullmatch(wanted, value) is not None
    if ignore_case:
        wanted, value = wanted.lower(), value.lower()
    return value == wanted if kind == "exact" else value.startswith(wanted)


def takes(match: Obj, request: Obj) -> bool:
    """All conditions of one match."""
    parts = urlsplit(request["path"] + request["query"])
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    headers = request["headers"]
    if "uri" in match and not agrees(match["uri"], parts.path, ignore_case=match.get("ignoreUriCase", False)):
        return False
    if "method" in match and not agrees(match["method"], request["method"]):
        return False
    for name, wanted in match.get("headers", {}).items():
        if name not in headers or not agrees(wanted, headers[name]):
            return False
    for name, unwanted in match.get("withoutHeaders", {}).items():
        present_only = unwanted == {"regex": "*"}
        # A header that is missing counts as an empty one, unless only its presence was asked.
        value = headers.get(name) if present_only else headers.get(name, "")
        if value is not None and agrees(unwanted, value):
            return False
    return all(
        name in query and agrees(wanted, query[name]) for name, wanted in match.get("queryParams", {}).items()
    )


def everything(match: Obj) -> bool:
    """Whether a match takes every request by its form, which ends the list and goes last."""
    uri = match.get("uri", {"prefix": "/"})
    open_path = uri in ({"prefix": "/"}, {"regex": ".*"})
    return open_path and not any(match.get(k) for k in ("method", "headers", "withoutHeaders", "queryParams"))


def expected(listed: list[list[Obj]], request: Obj) -> int | None:
    """The number of the rule that takes a request, by order; None for 404."""
    for number, options in enumerate(listed):
        if not options or any(takes(match, request) for match in options):
            return number
        if any(everything(match) for match in options):
            return None
    return None


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(data=st.lists(st.tuples(rules, st.lists(requests, min_size=4, max_size=4)), min_size=12, max_size=12))
def test_requests_go_to_the_rule_that_the_documentation_says(
    rig: Rig, data: list[tuple[list[list[Obj]], list[Obj]]]
) -> None:
    objects = [o.gateway("web", [o.server(["*"])])]
    for index, (listed, _) in enumerate(data):
        http = [
            {
                **({"match": options} if options else {}),
                "directResponse": {"status": 200, "body": {"string": f"rule {number}"}},
            }
            for number, options in enumerate(listed)
        ]
        objects.append(o.virtual_service(f"v{index}", [f"h{index}.example"], http, gateways=["web"]))
    rig.apply(objects)
    for index, (listed, asked) in enumerate(data):
        for request in asked:
            number = expected(listed, request)
            ask = Ask(
                request["path"] + request["query"],
                host=f"h{index}.example",
                method=request["method"],
                headers=request["headers"],
                status=404 if number is None else 200,
                body=None if number is None else f"rule {number}",
            )
            try:
                rig.check(ask)
            except AssertionError as error:
                raise AssertionError(f"{listed} {request}") from error


seconds = st.sampled_from(["1s", "0.5s", "250ms", "1m30s", "2h"])
policies = st.fixed_dictionaries(
    {},
    optional={
        "loadBalancer": st.one_of(
            st.fixed_dictionaries(
                {"simple": st.sampled_from(["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "LEAST_CONN"])},
                optional={"warmupDurationSecs": seconds},
            ),
            st.fixed_dictionaries(
                {
                    "consistentHash": st.sampled_from(
                        [
                            {"httpHeaderName": "x"},
                            {"httpCookie": {"name": "c", "ttl": "0s"}},
                            {"useSourceIp": True, "maglev": {"tableSize": 65537}},
                            {"httpQueryParameterName": "q", "ringHash": {"minimumRingSize": 64}},
                        ]
                    )
                }
            ),
        ),
        "connectionPool": st.fixed_dictionaries(
            {},
            optional={
                "tcp": st.fixed_dictionaries(
                    {},
                    optional={
                        "maxConnections": st.integers(1, 9),
                        "connectTimeout": seconds,
                        "maxConnectionDuration": seconds,
                    },
                ),
                "http": st.fixed_dictionaries(
                    {},
                    optional={
                        "h2UpgradePolicy": st.sampled_from(["UPGRADE", "DO_NOT_UPGRADE", "DEFAULT"]),
                        "idleTimeout": seconds,
                        "maxRequestsPerConnection": st.integers(0, 5),
                        "useClientProtocol": st.booleans(),
                        "maxConcurrentStreams": st.integers(1, 9),
                        "http2KeepAlive": st.just({"interval": "10s", "timeout": "2s"}),
                    },
                ),
            },
        ),
        "outlierDetection": st.fixed_dictionaries(
            {},
            optional={
                "consecutive5xxErrors": st.integers(0, 9),
                "consecutiveGatewayErrors": st.integers(0, 9),
                "interval": seconds,
                "baseEjectionTime": seconds,
                "maxEjectionPercent": st.integers(0, 100),
                "splitExternalLocalOriginErrors": st.booleans(),
                "outlierDetectionHttpErrorCodes": st.lists(st.integers(400, 599), max_size=3, unique=True),
            },
        ),
        "tls": st.sampled_from(
            [
                {"mode": "DISABLE"},
                {"mode": "ISTIO_MUTUAL"},
                {"mode": "SIMPLE"},
                {"mode": "SIMPLE", "sni": "a.example", "subjectAltNames": ["a.example"]},
                {"mode": "SIMPLE", "insecureSkipVerify": True},
                {"mode": "MUTUAL", "credentialName": "cert"},
            ]
        ),
        "retryBudget": st.just({"percent": 25.0, "minRetryConcurrency": 5}),
    },
)
actions = st.one_of(
    st.fixed_dictionaries(
        {
            "route": st.lists(
                st.builds(
                    o.to,
                    st.sampled_from(["web", "other", "third.else.svc.cluster.local", "nobody"]),
                    st.sampled_from([80, 8000, None]),
                    st.sampled_from(["", "v1"]),
                    st.integers(1, 100),
                ),
                min_size=1,
                max_size=3,
            )
        },
        optional={
            "timeout": seconds,
            "retries": st.sampled_from(
                [
                    {"attempts": 0},
                    {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx,gateway-error,429"},
                    {"attempts": 1, "retryRemoteLocalities": True, "backoff": "10ms"},
                ]
            ),
            "rewrite": st.sampled_from(
                [
                    {"uri": "/"},
                    {"authority": "b.example"},
                    {"uriRegexRewrite": {"match": "/(.*)", "rewrite": "/x/\\\\1"}},
                ]
            ),
            "fault": st.sampled_from(
                [
                    {"abort": {"httpStatus": 500, "percentage": {"value": 0.1}}},
                    {"delay": {"fixedDelay": "1s", "percent": 5}},
                ]
            ),
            "mirror": st.just({"host": "other"}),
            "corsPolicy": st.just({"allowOrigins": [{"regex": ".*"}], "maxAge": "24h"}),
        },
    ),
    st.sampled_from(
        [
            {"redirect": {"uri": "/x", "redirectCode": 302}},
            {"redirect": {"prefixRewrite": "/y"}},
            {"directResponse": {"status": 204}},
        ]
    ),
)
sources = st.fixed_dictionaries(
    {},
    optional={
        "principals": st.just(["*", "cluster.local/ns/a/sa/b", "*/sa/x", "a*"]),
        "notNamespaces": st.just(["a", "b*"]),
        "ipBlocks": st.just(["10.0.0.0/8", "1.2.3.4"]),
        "notRemoteIpBlocks": st.just(["::1", "10.1.0.0/16"]),
        "requestPrincipals": st.just(["*", "a/b", "*/b", "a/*"]),
        "serviceAccounts": st.just(["shop/web", "web"]),
    },
)
operations = st.fixed_dictionaries(
    {},
    optional={
        "paths": st.just(["*", "/a*", "*/b", "/x/{*}/y", "/z/{**}"]),
        "notMethods": st.just(["GET", "P*"]),
        "hosts": st.just(["*.example", "a.*", "*"]),
        "ports": st.just(["8080", "8443", "9"]),
    },
)
conditions = st.sampled_from(
    [
        {"key": "request.headers[x]", "values": ["a*", "*"]},
        {"key": "request.auth.claims[a][b]", "notValues": ["c"]},
        {"key": "source.trustDomain", "values": ["cluster.local", "*"]},
        {"key": "connection.sni", "values": ["*.example"]},
        {"key": "destination.ip", "values": ["127.0.0.0/8"]},
        {"key": "experimental.envoy.filters.network.mysql_proxy[db]", "values": ["[a]", "b"]},
    ]
)
authorization = st.fixed_dictionaries(
    {"action": st.sampled_from(["ALLOW", "DENY", "AUDIT"])},
    optional={
        "rules": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "from": st.lists(sources.map(lambda s: {"source": s}), max_size=2),
                    "to": st.lists(operations.map(lambda s: {"operation": s}), max_size=2),
                    "when": st.lists(conditions, max_size=2),
                },
            ),
            max_size=2,
        )
    },
)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(
    policy=st.lists(policies, min_size=4, max_size=4),
    http=st.lists(st.tuples(st.lists(matches, max_size=2), actions), min_size=1, max_size=6),
    rules_of=st.lists(authorization, min_size=1, max_size=4),
    mode=st.sampled_from(["STRICT", "PERMISSIVE", "DISABLE"]),
    minor=st.sampled_from([19, 24, 29, 31]),
)
def test_envoy_takes_whatever_is_valid(
    tmp_path_factory: pytest.TempPathFactory,
    policy: list[Obj],
    http: list[tuple[list[Obj], Obj]],
    rules_of: list[Obj],
    mode: str,
    minor: int,
) -> None:
    folder: Path = tmp_path_factory.mktemp("valid")
    image = f"docker.io/istio/proxyv2:1.{minor}.0"
    world = World()
    pod = o.proxy_pod(
        "web-1",
        "shop",
        "127.9.1.2",
        {"app": "web", "version": "v1", "security.istio.io/tlsMode": "istio"},
        role="sidecar",
        image=image,
        inside="127.9.64.2",
        app_ports=[{"name": "http", "containerPort": 8080}, {"containerPort": 9000}],
    )
    listed = [{**({"match": m} if m else {}), **action} for m, action in http]
    hosts = ["web", "other", "third.else.svc.cluster.local", "web.shop.svc.cluster.local"]
    items = [
        o.gateway_pod(image=image),
        o.gateway_service(),
        pod,
        o.service("web", "shop", {"app": "web"}, [("http", 80, 8080), ("tcp", 9000, 9000), ("", 9001, 9000)]),
        o.service("other", "shop", {"app": "other"}, [("grpc", 80, 8080)]),
        o.service("third", "else", {"app": "third"}, [("http", 80, 80), ("http-alt", 8000, 80)]),
        o.endpoint_slice("web", "shop", [("http", 8080), ("tcp", 9000)], [pod]),
        o.gateway(
            "web",
            [o.server(["*"]), o.server(["*"], 443, "HTTPS", tls={"mode": "SIMPLE", "credentialName": "c"})],
        ),
        o.virtual_service("v", ["*.example"], listed, gateways=["web"]),
        o.virtual_service("m", ["web"], listed),
        *(o.istio("AuthorizationPolicy", f"a{i}", spec, o.SYSTEM) for i, spec in enumerate(rules_of)),
        o.istio("PeerAuthentication", "default", {"mtls": {"mode": mode}}, o.SYSTEM),
        *(
            o.istio(
                "DestinationRule",
                f"d{i}",
                {
                    "host": host,
                    "trafficPolicy": spec,
                    "subsets": [{"name": "v1", "trafficPolicy": policy[-1 - i]}],
                },
                age=i,
            )
            for i, (host, spec) in enumerate(zip(hosts, policy, strict=True))
        ),
    ]
    for item in items:
        world.put(item)
    for proxy in proxies(world):
        paths = Paths(str(folder / proxy.uid))
        validate(translate(world, proxy, paths), paths, folder, Authority())
