"""Who is let in: authorization and tokens at the gateway, mutual TLS and identities at a sidecar."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, rule, shop, uri
from tests.lab.istiod.translate.rig import GATEWAY_ID, Ask, Case

Obj = dict[str, Any]
DENIED = "RBAC: access denied"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def jwks() -> str:
    numbers = KEY.public_key().public_numbers()
    number = numbers.n.to_bytes(256, "big")
    key = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig", "n": _b64(number), "e": "AQAB"}
    return json.dumps({"keys": [key]})


def token(**claims: Any) -> str:
    body = {"iss": "https://issuer.example", "sub": "ann", "exp": int(time.time()) + 600, **claims}
    head = _b64(json.dumps({"alg": "RS256", "kid": "k", "typ": "JWT"}).encode())
    text = f"{head}.{_b64(json.dumps(body).encode())}"
    return f"{text}.{_b64(KEY.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def bearer(**claims: Any) -> Obj:
    return {"authorization": f"Bearer {token(**claims)}"}


def policy(
    name: str, rules: list[Obj] | None, action: str = "ALLOW", namespace: str = o.SYSTEM, **spec: Any
) -> Obj:
    found: Obj = {"action": action, **spec}
    if rules is not None:
        found["rules"] = rules
    return o.istio("AuthorizationPolicy", name, found, namespace)


def operation(**fields: list[str]) -> Obj:
    return {"to": [{"operation": fields}]}


def source(**fields: list[str]) -> Obj:
    return {"from": [{"source": fields}]}


def issuer(**more: Any) -> Obj:
    spec = {"jwtRules": [{"issuer": "https://issuer.example", "jwks": jwks(), **more}]}
    return o.istio("RequestAuthentication", "jwt", spec, o.SYSTEM)


BASE = [GATEWAY, shop(rule(OTHER))]
MESH = [GATEWAY, shop(rule("secure"))]
STRICT = o.istio("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}})
CASES = [
    Case(
        "ALLOW by path and method",
        [*BASE, policy("p", [operation(paths=["/a", "/b/*", "*.png"], methods=["GET"])])],
        [
            *(Ask(path, to=OTHER) for path in ("/a", "/b/", "/b/c", "/x/y.png", "/a?q=1")),
            *(Ask(path, status=403, body=DENIED) for path in ("/", "/aa", "/b", "/c", "/x.pngs")),
            Ask("/a", method="POST", status=403),
        ],
    ),
    Case(
        "DENY before ALLOW",
        [
            *BASE,
            policy("allow", [operation(paths=["/a*"])]),
            policy("deny", [operation(paths=["/a/secret*"])], "DENY"),
        ],
        [
            Ask("/a", to=OTHER),
            Ask("/a/open", to=OTHER),
            Ask("/a/secret", status=403),
            Ask("/a/secret/x", status=403),
            Ask("/b", status=403),
        ],
    ),
    Case(
        "ALLOW without rules lets nobody in",
        [*BASE, policy("none", None)],
        [Ask(status=403), Ask("/a", status=403)],
    ),
    Case(
        "an empty rule lets everybody in",
        [*BASE, policy("all", [{}])],
        [Ask(to=OTHER), Ask("/x", method="POST", to=OTHER)],
    ),
    Case(
        "DENY with an empty rule",
        [*BASE, policy("no", [{}], "DENY")],
        [Ask(status=403)],
    ),
    Case(
        "hosts, ports and their negations",
        [
            GATEWAY,
            shop(rule(OTHER), hosts=["*"]),
            policy(
                "p",
                [
                    operation(hosts=["a.example", "*.b.example"]),
                    operation(notHosts=["*"], paths=["/never"]),
                    operation(ports=["8080"], hosts=["port.example"]),
                    operation(ports=["9999"], hosts=["other.example"]),
                    operation(notPorts=["9999"], hosts=["not.example"]),
                    operation(notPaths=["/x"], notMethods=["POST"], hosts=["neg.example"]),
                ],
            ),
        ],
        [
            Ask(host="a.example", to=OTHER),
            Ask(host="A.EXAMPLE", to=OTHER),
            Ask(host="x.b.example", to=OTHER),
            Ask(host="b.example", status=403),
            Ask(host="port.example", to=OTHER),
            Ask(host="other.example", status=403),
            Ask(host="not.example", to=OTHER),
            Ask(host="neg.example", to=OTHER),
            Ask("/x", host="neg.example", status=403),
            Ask(host="neg.example", method="POST", status=403),
        ],
    ),
    Case(
        "addresses",
        [
            *BASE,
            policy(
                "p",
                [
                    {**source(ipBlocks=["127.0.0.0/8"]), **operation(paths=["/direct"])},
                    {**source(notIpBlocks=["127.0.0.1"]), **operation(paths=["/notdirect"])},
                    {**source(remoteIpBlocks=["127.0.0.1"]), **operation(paths=["/remote"])},
                    {**source(ipBlocks=["10.0.0.0/8"]), **operation(paths=["/far"])},
                ],
            ),
        ],
        [
            Ask("/direct", to=OTHER),
            Ask("/notdirect", status=403),
            Ask("/remote", to=OTHER),
            Ask("/far", status=403),
            Ask("/remote", headers={"x-forwarded-for": "9.9.9.9"}, to=OTHER),
        ],
    ),
    Case(
        "the client's address behind one trusted proxy",
        [
            *BASE,
            o.mesh("defaultConfig:\n  gatewayTopology:\n    numTrustedProxies: 1\n"),
            policy("p", [source(remoteIpBlocks=["9.9.9.0/24"])]),
        ],
        [
            Ask(headers={"x-forwarded-for": "9.9.9.9"}, to=OTHER),
            Ask(headers={"x-forwarded-for": "9.9.9.9, 8.8.8.8"}, status=403),
            Ask(status=403),
        ],
    ),
    Case(
        "conditions on headers",
        [
            *BASE,
            policy(
                "p",
                [
                    {"when": [{"key": "request.headers[x-role]", "values": ["admin", "op*"]}]},
                    {
                        **operation(paths=["/n"]),
                        "when": [{"key": "request.headers[x-role]", "notValues": ["guest"]}],
                    },
                    {
                        **operation(paths=["/ip"]),
                        "when": [{"key": "source.ip", "values": ["127.0.0.1"]}],
                    },
                    {
                        **operation(paths=["/port"]),
                        "when": [{"key": "destination.port", "values": ["8080"]}],
                    },
                ],
            ),
        ],
        [
            Ask(headers={"x-role": "admin"}, to=OTHER),
            Ask(headers={"x-role": "operator"}, to=OTHER),
            Ask(headers={"x-role": "guest"}, status=403),
            Ask(status=403),
            Ask("/n", headers={"x-role": "guest"}, status=403),
            Ask("/n", to=OTHER),
            Ask("/ip", to=OTHER),
            Ask("/port", to=OTHER),
        ],
    ),
    Case(
        "policies of other namespaces and workloads do not hold here",
        [
            *BASE,
            policy("app", [operation(paths=["/x"])], namespace="shop"),
            policy("else", None, selector={"matchLabels": {"istio": "egressgateway"}}),
        ],
        [Ask(to=OTHER), Ask("/y", to=OTHER)],
    ),
    Case(
        "a selector that selects the gateway",
        [*BASE, policy("p", None, selector={"matchLabels": {"istio": "ingressgateway"}})],
        [Ask(status=403)],
    ),
    Case(
        "AUDIT and dry runs change nothing",
        [
            *BASE,
            policy("audit", [{}], "AUDIT"),
            {
                **policy("dry", [{}], "DENY"),
                "metadata": {
                    **policy("dry", [{}], "DENY")["metadata"],
                    "annotations": {"istio.io/dry-run": "true"},
                },
            },
        ],
        [Ask(to=OTHER)],
    ),
    Case(
        "CUSTOM cannot be had: nobody comes in",
        [*BASE, policy("c", [{}], "CUSTOM", provider={"name": "ext"})],
        [Ask(status=403)],
    ),
    Case(
        "tokens: a missing one passes, an invalid one does not",
        [*BASE, issuer(audiences=["shop"])],
        [
            Ask(to=OTHER),
            Ask(headers=bearer(aud="shop"), to=OTHER, seen={"authorization": None}),
            Ask(headers=bearer(aud=["a", "shop"]), to=OTHER),
            Ask(headers=bearer(aud="bank"), status=403, body="Audiences in Jwt are not allowed"),
            Ask(headers=bearer(aud="shop", exp=1), status=401, body="Jwt is expired"),
            Ask(headers=bearer(aud="shop", iss="https://evil.example"), status=401, body="Jwt issuer"),
            Ask(headers={"authorization": "Bearer nonsense"}, status=401),
            Ask(headers={"authorization": f"Bearer {token(aud='shop')}x"}, status=401),
        ],
    ),
    Case(
        "tokens are demanded",
        [*BASE, issuer(), policy("p", [source(requestPrincipals=["*"])])],
        [Ask(status=403), Ask(headers=bearer(), to=OTHER), Ask(headers=bearer(exp=1), status=401)],
    ),
    Case(
        "principals and claims",
        [
            *BASE,
            issuer(forwardOriginalToken=True, outputPayloadToHeader="x-payload"),
            policy(
                "p",
                [
                    {
                        **source(requestPrincipals=["https://issuer.example/ann"]),
                        **operation(paths=["/ann"]),
                    },
                    {**source(requestPrincipals=["https://issuer.example/*"]), **operation(paths=["/any"])},
                    {**source(notRequestPrincipals=["*/ann"]), **operation(paths=["/notann"])},
                    {
                        **operation(paths=["/group"]),
                        "when": [{"key": "request.auth.claims[groups]", "values": ["dev", "ops*"]}],
                    },
                    {
                        **operation(paths=["/nested"]),
                        "when": [{"key": "request.auth.claims[a][b]", "values": ["c"]}],
                    },
                    {
                        **operation(paths=["/scope"]),
                        "when": [{"key": "request.auth.claims[scope]", "values": ["read"]}],
                    },
                    {
                        **operation(paths=["/aud"]),
                        "when": [{"key": "request.auth.audiences", "values": ["shop"]}],
                    },
                ],
            ),
        ],
        [
            Ask("/ann", headers=bearer(), to=OTHER),
            Ask("/ann", headers=bearer(sub="bob"), status=403),
            Ask("/any", headers=bearer(sub="bob"), to=OTHER),
            Ask("/any", status=403),
            Ask("/notann", headers=bearer(), status=403),
            Ask("/notann", headers=bearer(sub="bob"), to=OTHER),
            Ask("/group", headers=bearer(groups=["a", "dev"]), to=OTHER),
            Ask("/group", headers=bearer(groups="ops-1"), to=OTHER),
            Ask("/group", headers=bearer(groups=["a"]), status=403),
            Ask("/nested", headers=bearer(a={"b": "c"}), to=OTHER),
            Ask("/nested", headers=bearer(a={"b": "d"}), status=403),
            Ask("/scope", headers=bearer(scope="write read"), to=OTHER),
            Ask("/aud", headers=bearer(aud="shop"), to=OTHER),
            Ask("/aud", headers=bearer(aud="bank"), status=403),
        ],
    ),
    Case(
        "routes by claim",
        [
            GATEWAY,
            shop(
                rule("web", {"headers": {"@request.auth.claims.group": {"exact": "dev"}}}),
                rule("empty", {"headers": {"@request.auth.claims[team][name]": {"prefix": "a"}}}),
                rule(OTHER),
            ),
            issuer(),
        ],
        [
            Ask(to=OTHER),
            Ask(headers=bearer(group="ops"), to=OTHER),
            Ask(headers=bearer(team={"name": "abc"}), status=503),
            Ask(headers=bearer(group=["x", "y"]), to=OTHER),
        ],
    ),
    Case(
        "tokens from another place",
        [
            *BASE,
            issuer(fromHeaders=[{"name": "x-token", "prefix": "T "}], fromParams=["t"]),
            policy("p", [source(requestPrincipals=["*"])]),
        ],
        [
            Ask(headers={"x-token": f"T {token()}"}, to=OTHER),
            Ask(f"/?t={token()}", to=OTHER),
            Ask(headers=bearer(), status=403),
        ],
    ),
    Case(
        "PERMISSIVE: mutual TLS from the gateway, plain text from anybody",
        MESH,
        [
            Ask(to="secure", seen={"x-forwarded-proto": "http"}),
            Ask(via="direct", to="secure", seen={"x-forwarded-client-cert": None}),
        ],
    ),
    Case(
        "STRICT: plain text is refused, the gateway passes",
        [*MESH, STRICT],
        [Ask(to="secure"), Ask(via="direct", refused=True)],
    ),
    Case(
        "STRICT for the mesh, off for one port",
        [
            *MESH,
            o.istio("PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}, o.SYSTEM),
            o.istio(
                "PeerAuthentication",
                "secure",
                {
                    "selector": {"matchLabels": {"app": "secure"}},
                    "portLevelMtls": {"8080": {"mode": "DISABLE"}},
                },
            ),
        ],
        [Ask(via="direct", to="secure"), Ask(to="secure")],
    ),
    Case(
        "DISABLE for the namespace: plain text on both sides",
        [*MESH, o.istio("PeerAuthentication", "default", {"mtls": {"mode": "DISABLE"}})],
        [Ask(to="secure"), Ask(via="direct", to="secure")],
    ),
    Case(
        "the workload's mode over the namespace's; UNSET takes the parent's",
        [
            *MESH,
            STRICT,
            o.istio(
                "PeerAuthentication",
                "secure",
                {"selector": {"matchLabels": {"app": "secure"}}, "mtls": {"mode": "PERMISSIVE"}},
            ),
        ],
        [Ask(via="direct", to="secure"), Ask(to="secure")],
    ),
    Case(
        "a DestinationRule that switches TLS off against STRICT",
        [
            *MESH,
            STRICT,
            o.istio(
                "DestinationRule", "secure", {"host": "secure", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
            ),
        ],
        [Ask(status=503)],
    ),
    Case(
        "ISTIO_MUTUAL by DestinationRule",
        [
            *MESH,
            STRICT,
            o.istio(
                "DestinationRule",
                "secure",
                {"host": "secure", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}},
            ),
        ],
        [Ask(to="secure")],
    ),
    Case(
        "identities: the gateway may, others may not",
        [
            *MESH,
            policy(
                "p",
                [
                    {
                        **source(principals=[GATEWAY_ID.removeprefix("spiffe://")]),
                        **operation(paths=["/a*"], ports=["8080"]),
                    },
                    {**source(namespaces=["istio-system"]), **operation(paths=["/b"])},
                    {**source(namespaces=["shop"]), **operation(paths=["/c"])},
                    {
                        **source(principals=["*/sa/istio-ingressgateway-service-account"]),
                        **operation(paths=["/d"]),
                    },
                    {**source(notPrincipals=["cluster.local/*"]), **operation(paths=["/e"])},
                    {**operation(paths=["/f"], ports=["81"])},
                ],
                namespace="shop",
            ),
        ],
        [
            Ask("/a", to="secure"),
            Ask("/ab", to="secure"),
            Ask("/b", to="secure"),
            Ask("/c", status=403),
            Ask("/d", to="secure"),
            Ask("/e", status=403),
            Ask("/f", status=403),
            Ask("/a", via="direct", status=403),
            Ask("/b", via="direct", status=403),
            Ask("/e", via="direct", to="secure"),
        ],
    ),
    Case(
        "default deny for the namespace, one path open",
        [
            *MESH,
            policy("deny", None, namespace="shop"),
            policy("open", [operation(paths=["/healthz"])], namespace="shop"),
        ],
        [Ask("/healthz", to="secure"), Ask("/", status=403), Ask("/healthz", via="direct", to="secure")],
    ),
    Case(
        "what the application sees of the client",
        [*MESH, STRICT],
        [
            Ask(
                to="secure",
                seen={
                    "x-envoy-attempt-count": "1",
                    "x-envoy-decorator-operation": None,
                },
            ),
        ],
    ),
    Case(
        "through the sidecar's proxy: by every name of a service",
        [GATEWAY],
        [
            *(
                Ask(via="proxy", host=host, to=OTHER)
                for host in (
                    "other",
                    "other:80",
                    "other.shop",
                    "other.shop.svc",
                    "other.shop.svc.cluster.local",
                    "other.shop.svc.cluster.local:80",
                )
            ),
            Ask(via="proxy", host="third.else", to="third"),
            Ask(via="proxy", host="third.else:8000", to="third"),
            Ask(via="proxy", host="empty", status=503),
        ],
    ),
    Case(
        "REGISTRY_ONLY",
        [o.mesh("outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n")],
        [Ask(via="proxy", host="nobody.example", status=502), Ask(via="proxy", host="other", to=OTHER)],
    ),
    Case(
        "mesh routing from a sidecar",
        [
            o.virtual_service(
                "other",
                ["other"],
                [
                    {"match": [uri("prefix", "/v1")], "route": [o.to("web", subset="v1")]},
                    {"match": [uri("prefix", "/gw", gateways=["web"])], "route": [o.to("web")]},
                    {
                        "match": [uri("prefix", "/label", sourceLabels={"app": "secure"})],
                        "route": [o.to("third.else.svc.cluster.local", 80)],
                    },
                    {
                        "match": [{"headers": {"x-fault": {}}}],
                        "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
                        "route": [o.to("other")],
                    },
                    {"route": [o.to("other")]},
                ],
            ),
            o.istio(
                "DestinationRule",
                "web",
                {"host": "web", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
            ),
            o.virtual_service("ext", ["made.up.example"], [{"route": [o.to("other")]}]),
        ],
        [
            Ask("/v1/x", via="proxy", host="other.shop", to="v1"),
            Ask("/gw", via="proxy", host="other", to=OTHER),
            Ask("/label", via="proxy", host="other", to="third"),
            Ask("/", via="proxy", host="other", headers={"x-fault": "1"}, status=418),
            Ask("/", via="proxy", host="other", to=OTHER),
            Ask("/", via="proxy", host="made.up.example", to=OTHER),
        ],
    ),
]
