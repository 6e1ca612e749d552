"""Routes that a VirtualService hands to others, and the headers that a proxy's own configuration adds."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, THIRD, paths, rule, shop, uri
from tests.lab.istiod.translate.rig import Ask, Case

Obj = dict[str, Any]


def handed(*matches: Obj, to: str = "inner", namespace: str = "else", **rest: Any) -> Obj:
    found: Obj = {"delegate": {"name": to, "namespace": namespace}, **rest}
    if matches:
        found["match"] = list(matches)
    return found


def inner(*rules: Obj, name: str = "inner", namespace: str = "else", **rest: Any) -> Obj:
    """A delegate: it has neither hosts nor gateways."""
    return o.istio("VirtualService", name, {"http": list(rules), **rest}, namespace)


BACKEND = f"{BaseHTTPRequestHandler.server_version} {BaseHTTPRequestHandler.sys_version}"
API = uri("prefix", "/api")
CASES = [
    Case(
        "delegate: both conditions hold, a short name is of the delegate's namespace",
        [
            GATEWAY,
            shop(handed(API), rule(OTHER)),
            inner(
                rule("third", uri("prefix", "/api/v1")),
                rule("third", {"headers": {"x-a": {"exact": "1"}}}, rewrite={"uri": "/inner"}),
            ),
        ],
        [
            *paths("third", "/api/v1", "/api/v1/x"),
            Ask(path="/api/z", headers={"x-a": "1"}, to="third", seen_path="/inner/z"),
            Ask(path="/z", headers={"x-a": "1"}, to=OTHER),
            *paths(OTHER, "/api", "/api/v2", "/"),
        ],
    ),
    Case(
        "delegate: a route outside the root's condition is ignored, the others stay",
        [
            GATEWAY,
            shop(handed(API), rule(OTHER, uri("prefix", "/out"))),
            inner(
                rule(THIRD, uri("prefix", "/out")),
                rule(THIRD, uri("prefix", "/ap")),
                rule(THIRD, uri("exact", "/api")),
            ),
        ],
        [*paths("third", "/api"), *paths(OTHER, "/out"), *paths(None, "/api/x", "/ap", status=404)],
    ),
    Case(
        "delegate: the root's settings hold where the delegate has none",
        [
            GATEWAY,
            shop(
                handed(
                    API,
                    headers={"request": {"set": {"x-root": "1"}}},
                    fault={"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
                )
            ),
            inner(
                rule(
                    THIRD,
                    uri("exact", "/api/own"),
                    headers={"request": {"set": {"x-own": "1"}}},
                    fault={"abort": {"httpStatus": 500, "percentage": {"value": 0}}},
                ),
                rule(THIRD),
            ),
        ],
        [Ask(path="/api/own", to="third", seen={"x-own": "1", "x-root": None}), Ask(path="/api", status=418)],
    ),
    Case(
        "delegate: one that is missing, not exported or has hosts takes only its own route away",
        [
            GATEWAY,
            shop(
                handed(uri("prefix", "/missing"), to="nowhere"),
                handed(uri("prefix", "/private"), to="private"),
                handed(uri("prefix", "/hosts"), to="hosts"),
                handed(uri("prefix", "/ok"), to="ok", namespace="shop"),
                rule(OTHER, uri("exact", "/")),
            ),
            inner(rule(THIRD), name="private", exportTo=["."]),
            o.virtual_service("hosts", ["a.example"], [rule(THIRD)], "else"),
            inner(rule("web"), name="ok", namespace="shop"),
        ],
        [
            *paths(None, "/missing", "/private", "/hosts", status=404),
            *paths(OTHER, "/"),
            Ask(path="/ok", status=200),
        ],
    ),
    Case(
        "proxyHeaders: what a gateway adds to requests and answers",
        [
            GATEWAY,
            shop(rule(OTHER, rewrite={"authority": "inner.example"})),
            o.mesh(
                "defaultConfig:\n  proxyHeaders:\n    server: {value: edge}\n"
                "    attemptCount: {disabled: true}\n"
                "    requestId: {disabled: true}\n    envoyDebugHeaders: {disabled: true}\n"
                "    xForwardedHost: {enabled: true}\n    xForwardedPort: {enabled: true}\n"
            ),
        ],
        [
            Ask(
                to=OTHER,
                seen={
                    "x-envoy-attempt-count": None,
                    "x-request-id": None,
                    "x-forwarded-host": "shop.example",
                    "host": "inner.example",
                },
                gets={"server": "edge", "x-envoy-upstream-service-time": None},
            )
        ],
    ),
    Case(
        "proxyHeaders: the application's own server header",
        [
            GATEWAY,
            shop(rule(OTHER)),
            o.mesh("defaultConfig:\n  proxyHeaders:\n    server: {disabled: true}\n"),
        ],
        [Ask(to=OTHER, seen={"x-envoy-attempt-count": "1"}, gets={"server": BACKEND})],
    ),
]
