"""The webhook's rules: errors, warnings, and the text of a refusal."""

# ruff: noqa: E501  the expected texts stand on one line each

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.lab.schema.istio import istio_kinds
from meshlib.lab.schema.istio_rules import judge

API = {
    "Gateway": "networking.istio.io/v1",
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "ServiceEntry": "networking.istio.io/v1",
    "Sidecar": "networking.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "Telemetry": "telemetry.istio.io/v1",
}


def made(kind: str, spec: str, name: str = "a", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": API[kind],
        "kind": kind,
        "metadata": {"name": name, "namespace": "ns", **meta},
        "spec": yaml.safe_load(spec),
    }


ROUTE = "route: [{destination: {host: b}}]"


@pytest.mark.parametrize(
    ("kind", "spec", "errors"),
    [
        ("Gateway", "{}", ["gateway must have at least one server"]),
        (
            "Gateway",
            "{servers: [{hosts: [a.b], port: {number: 443, name: x, protocol: HTTPS}}]}",
            ["server must have TLS settings for HTTPS/TLS protocols"],
        ),
        (
            "Gateway",
            "{servers: [{hosts: [a.b], port: {number: 443, name: x, protocol: HTTPS}, tls: {mode: SIMPLE}}]}",
            ["SIMPLE TLS requires a server certificate", "SIMPLE TLS requires a private key"],
        ),
        (
            "Gateway",
            "{servers: [{hosts: [a.b], port: {number: 80, name: x, protocol: FOO}}, {hosts: [a], port: "
            "{number: 81, name: x, protocol: HTTP}}]}",
            [
                'invalid protocol "FOO", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP',
                "short names (non FQDN) are not allowed",
                "port names in servers must be unique: duplicate name x",
            ],
        ),
        (
            "Gateway",
            "{servers: [{hosts: ['*'], port: {number: 80, name: x, protocol: HTTP}, tls: {httpsRedirect: "
            "true}}]}",
            [],
        ),
        ("VirtualService", "{hosts: [a]}", ["http, tcp or tls must be provided in virtual service"]),
        (
            "VirtualService",
            f"{{hosts: ['*'], http: [{{{ROUTE}}}]}}",
            ["wildcard host * is not allowed for virtual services bound to the mesh gateway"],
        ),
        ("VirtualService", f"{{hosts: ['*'], gateways: [g], http: [{{{ROUTE}}}]}}", []),
        (
            "VirtualService",
            f"{{hosts: ['*.a.b', x.a.b], gateways: [g], http: [{{{ROUTE}}}]}}",
            ["duplicate hosts in virtual service: *.a.b & x.a.b"],
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{}]}",
            ["HTTP route, redirect or direct_response is required"],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{{ROUTE}, redirect: {{uri: /x}}}}]}}",
            ["HTTP route cannot contain both route and redirect"],
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: b}}, {destination: {host: c}}]}]}",
            ["total destination weight = 0"],
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{route: [{destination: {host: b, subset: a_b}, weight: -1}]}]}",
            ["subset name is invalid: a_b", "weight -1 < 0"],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{match: [{{uri: {{regex: ''}}}}], {ROUTE}}}]}}",
            ['"uri": regex string match should not be empty'],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{fault: {{abort: {{httpStatus: 99, percentage: {{value: 120}}}}}}, "
            f"{ROUTE}}}]}}",
            [
                "percentage 120 is neither 0.0, nor in range [0.0001, 100.0]",
                "HTTP status 99 is not in range 200-599",
            ],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{retries: {{attempts: 0, retryOn: x}}, timeout: 1.0005s, {ROUTE}}}]}}",
            [
                "http retry policy configured when attempts are set to 0 (disabled)",
                '"x" is not a valid retryOn policy',
                "only durations to ms precision are supported",
            ],
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{redirect: {}}]}",
            ["redirect must specify URI, authority, scheme, or port"],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{rewrite: {{}}, {ROUTE}}}]}}",
            [
                "rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of "
                "URI or UriRegexRewrite may be specified"
            ],
        ),
        (
            "VirtualService",
            f"{{hosts: [a_b.c], http: [{{{ROUTE}}}]}}",
            ['domain name "a_b.c" invalid (label "a_b" invalid)'],
        ),
        ("DestinationRule", "{host: a, trafficPolicy: {}}", ["traffic policy must have at least one field"]),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {connectionPool: {}}}",
            ["connection pool must have at least one field"],
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}, subsets: [{name: v1}, {name: v1}]}",
            [
                "client certificate required for mutual tls",
                "private key required for mutual tls",
                "duplicate subset names: v1",
            ],
        ),
        (
            "ServiceEntry",
            "{hosts: ['*'], ports: [{number: 80, name: http, protocol: HTTP}, {number: 80, name: http, "
            "protocol: X}]}",
            [
                "invalid host *",
                'service entry port name "http" already defined',
                "service entry port 80 already defined",
                "unsupported protocol: X",
            ],
        ),
        ("Sidecar", "{}", ["sidecar: empty configuration provided"]),
        ("Sidecar", "{egress: [{hosts: [a]}]}", ["host must be of form namespace/dnsName"]),
        (
            "PeerAuthentication",
            "{portLevelMtls: {'80': {mode: STRICT}}}",
            ["mesh/namespace peer authentication cannot have port level mTLS"],
        ),
        (
            "AuthorizationPolicy",
            "{action: DENY}",
            [
                "invalid policy a.ns: DENY action without `rules` is meaningless as it will never be "
                "triggered, add an empty rule `{}` if you want it be triggered for every request"
            ],
        ),
        (
            "AuthorizationPolicy",
            "{rules: [{from: [{source: {}}], to: [{operation: {}}], when: [{key: x, values: [a]}, {key: "
            "source.ip}]}]}",
            [
                "invalid policy a.ns: `from.source` must not be empty, found at rule 0",
                "invalid policy a.ns: `to.operation` must not be empty, found at rule 0",
                "invalid policy a.ns: invalid `value` for `key` x: unknown attribute: x",
                "invalid policy a.ns: invalid `notValue` for `key` x: unknown attribute: x",
                "invalid policy a.ns: at least one of `values` or `notValues` must be set for key source.ip",
            ],
        ),
        (
            "AuthorizationPolicy",
            "{provider: {name: x}, rules: [{}]}",
            ["invalid policy a.ns: `provider` must not be with non CUSTOM action, found ALLOW"],
        ),
        ("RequestAuthentication", "{jwtRules: [{}]}", ["issuer or jwksUri must be non-empty string"]),
        ("RequestAuthentication", '{jwtRules: [{issuer: a, jwks: \'{"keys": [{"kty": "RSA"}]}\'}]}', []),
        (
            "Telemetry",
            "{tracing: [{providers: [{name: ''}], randomSamplingPercentage: 101}]}",
            ["providers.name may not be empty", "randomSamplingPercentage must be in range [0.0, 100.0]"],
        ),
    ],
)
def test_errors(kind: str, spec: str, errors: list[str]) -> None:
    assert judge(made(kind, spec)).errors == errors


@pytest.mark.parametrize(
    ("kind", "spec", "warnings"),
    [
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{{ROUTE}}}, {{{ROUTE}}}]}}",
            ["virtualService rule #1 not used (only the last rule can have no matches)"],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{match: [{{uri: {{exact: /a}}}}], {ROUTE}}}, {{match: [{{uri: "
            f"{{exact: /a}}}}], {ROUTE}}}]}}",
            [
                "virtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)",
                "virtualService rule #1 not used (all matches used by prior rules)",
            ],
        ),
        (
            "VirtualService",
            f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /a}}}}], {ROUTE}}}, {{match: [{{uri: "
            f"{{prefix: /a/b}}}}], {ROUTE}}}]}}",
            [
                "virtualService rule #1 match #0 of prefix /a/b is not used (duplicate/overlapping match "
                "in rule #0 of prefix /a on #0)"
            ],
        ),
        ("Telemetry", "{tracing: [{}, {}]}", ["multiple tracing is not currently supported"]),
        (
            "AuthorizationPolicy",
            "{action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]}",
            [
                "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due "
                "to the use of only HTTP attributes in a DENY rule; it is recommended to explicitly "
                "specify the port"
            ],
        ),
    ],
)
def test_warnings(kind: str, spec: str, warnings: list[str]) -> None:
    found = judge(made(kind, spec))
    assert (found.errors, found.warnings) == ([], warnings)


def test_one_error_stands_as_it_is_and_several_are_counted() -> None:
    assert str(judge(made("Gateway", "{}"))) == "gateway must have at least one server"
    assert str(judge(made("Gateway", "{}", name="a.b"))) == (
        '2 errors occurred:\n\t* invalid gateway name: "a.b"\n\t* gateway must have at least one server\n\n'
    )


def test_some_checks_count_even_one_error() -> None:
    spec = f"{{hosts: [a], http: [{{fault: {{}}, {ROUTE}}}]}}"
    assert str(judge(made("VirtualService", spec))) == (
        "1 error occurred:\n\t* HTTP fault injection must have an abort and/or a delay\n\n"
    )


def test_a_good_object_is_admitted() -> None:
    assert str(judge(made("PeerAuthentication", "{mtls: {mode: STRICT}}"))) == ""


def test_dry_run_is_for_authorization_policies() -> None:
    obj = made("Gateway", "{}", annotations={"istio.io/dry-run": "true"})
    text = "ns/a has unsupported annotation istio.io/dry-run, please remove the annotation"
    assert judge(obj).errors == [text]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
WORDS = st.sampled_from(
    [
        "hosts",
        "gateways",
        "http",
        "tcp",
        "tls",
        "match",
        "route",
        "destination",
        "host",
        "subset",
        "port",
        "number",
        "name",
        "protocol",
        "uri",
        "exact",
        "prefix",
        "regex",
        "headers",
        "servers",
        "mode",
        "selector",
        "matchLabels",
        "rules",
        "from",
        "to",
        "source",
        "operation",
        "when",
        "key",
        "values",
        "action",
        "subsets",
        "trafficPolicy",
        "loadBalancer",
        "tracing",
        "providers",
        "egress",
        "ingress",
        "endpoints",
        "address",
        "ports",
        "fault",
        "delay",
        "abort",
        "percentage",
        "value",
        "retries",
        "attempts",
        "retryOn",
        "mirror",
        "weight",
    ]
)
SHAPED = st.recursive(
    JSON, lambda inner: st.dictionaries(WORDS, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=20
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(istio_kinds()), st.dictionaries(WORDS, SHAPED, max_size=5))
def test_any_json_is_judged_without_breaking(kind: Any, spec: dict[str, Any]) -> None:
    obj = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "a", "namespace": "b"},
        "spec": spec,
    }
    found = judge(obj)
    assert all(isinstance(each, str) and each for each in found.errors + found.warnings)
    assert (str(found) == "") == (not found.errors)
