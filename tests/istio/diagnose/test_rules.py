"""Each of the eleven ways to break an ingress, on a small set of objects: the right cause comes first."""

from __future__ import annotations

import copy
import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import pytest

from meshlib import tls
from meshlib.istio import manifest, objects
from meshlib.istio.diagnose import MODES, Snapshot, findings, news, table
from meshlib.istio.diagnose.model import Credential

Obj = dict[str, Any]
NS, ROOT, HOST, SECRET = "shop", "istio-system", "shop.example", "shop-credential"
CA = tls.authority("a test CA", 30)
MESH = manifest.mesh_config("1.30.5", ROOT)
LEAF = tls.leaf(CA, [HOST], 30)


def pod(name: str, namespace: str, labels: dict[str, str], *, proxy: bool = True, **spec: Any) -> Obj:
    containers: list[Obj] = [
        {"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 81}]}
    ]
    if proxy:
        containers.append({"name": "istio-proxy", "image": "istio/proxyv2:1.30.5", "env": []})
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": containers, "serviceAccountName": name, **spec},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def slice_of(service: str, namespace: str, ready: bool = True) -> Obj:
    return {
        "metadata": {
            "name": service,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
    }


def healthy() -> dict[str, list[Obj]]:
    istiod = pod("istiod", ROOT, {"app": "istiod"}, proxy=False)
    istiod["spec"]["containers"][0]["image"] = "istio/pilot:1.30.5"
    hook = {
        "name": "namespace.sidecar-injector.istio.io",
        "clientConfig": {"caBundle": "eA==", "service": {"name": "istiod", "namespace": ROOT}},
    }
    ingress: Obj = {
        "metadata": {"name": "istio-ingressgateway", "namespace": ROOT},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"istio": "ingressgateway"},
            "ports": [
                {"name": n, "port": p, "nodePort": 30000 + p} for n, p in (("http2", 80), ("https", 443))
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    routes = objects.exact_routes(["/healthz"], "web", 80)
    backend = {"metadata": {"name": "jaeger-collector", "namespace": ROOT}, "spec": {"ports": []}}
    return {
        "Namespace": [objects.namespace(NS), {"metadata": {"name": ROOT}}],
        "Pod": [
            istiod,
            pod("gw", ROOT, {"istio": "ingressgateway"}),
            pod("web", NS, {"app": "web", "version": "v1"}),
        ],
        "Service": [objects.service("web", NS, port=80), ingress, backend],
        "EndpointSlice": [slice_of("istiod", ROOT), slice_of("web", NS), slice_of("jaeger-collector", ROOT)],
        "MutatingWebhookConfiguration": [
            {"metadata": {"name": "istio-sidecar-injector"}, "webhooks": [hook]}
        ],
        "ConfigMap": [objects.config_map("istio", ROOT, {"mesh": MESH})],
        "Gateway": [objects.gateway("web", NS, hosts=[HOST], credential=SECRET)],
        "VirtualService": [objects.virtual_service("web", NS, hosts=[HOST], gateways=["web"], http=routes)],
        "Telemetry": [objects.telemetry("mesh-default", ROOT, provider="jaeger", sampling_percent=100.0)],
        "DestinationRule": [],
        "ServiceEntry": [],
        "PeerAuthentication": [],
        "AuthorizationPolicy": [],
        "RequestAuthentication": [],
    }


def snapshot(found: dict[str, list[Obj]], credential: Credential | None = None, **more: Any) -> Snapshot:
    good = Credential("read", ("tls.crt", "tls.key"), LEAF.certificate)
    known = {(ROOT, SECRET): credential or good, (NS, SECRET): Credential("missing")}
    return Snapshot(
        {kind: tuple(each) for kind, each in found.items()}, "v1.36.2", ROOT, credentials=known, **more
    )


def policy(namespace: str, labels: dict[str, str], spec: Obj) -> Obj:
    selector = {"selector": {"matchLabels": labels}} if labels else {}
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {**selector, **spec}}


def rule(**traffic: Any) -> Obj:
    return {"metadata": {"name": "web", "namespace": NS}, "spec": {"host": "web", **traffic}}


def route(found: dict[str, list[Obj]]) -> Obj:
    destination: Obj = found["VirtualService"][0]["spec"]["http"][0]["route"][0]["destination"]
    return destination


def mesh_text(found: dict[str, list[Obj]], text: str) -> None:
    found["ConfigMap"][0]["data"]["mesh"] = text


def strict(found: dict[str, list[Obj]]) -> None:
    found["PeerAuthentication"].append(policy(NS, {}, {"mtls": {"mode": "STRICT"}}))
    found["DestinationRule"].append(rule(trafficPolicy={"tls": {"mode": "DISABLE"}}))


def bare(found: dict[str, list[Obj]]) -> None:
    found["Namespace"][0]["metadata"]["labels"]["istio-injection"] = "enable"
    found["Pod"][2]["spec"]["containers"].pop()


def younger(found: dict[str, list[Obj]]) -> None:
    other = copy.deepcopy(found["Gateway"][0])
    other["metadata"] |= {"name": "younger", "creationTimestamp": "2030-01-01T00:00:00Z"}
    found["Gateway"].append(other)


def port_80_only(found: dict[str, list[Obj]]) -> None:
    found["Service"][1]["spec"]["ports"] = found["Service"][1]["spec"]["ports"][:1]


# name, the mode and code of the first finding, words in it, the break
BREAKS: list[tuple[str, int, str, str, Callable[[dict[str, list[Obj]]], object]]] = [
    ("no Telemetry", 1, "", "chooses a tracing provider", lambda f: f["Telemetry"].clear()),
    (
        "unknown provider",
        1,
        "",
        "'zipkin', which does not exist",
        lambda f: f["Telemetry"].__setitem__(
            0, objects.telemetry("t", ROOT, provider="zipkin", sampling_percent=100)
        ),
    ),
    ("no backend", 1, "", "backend of the provider 'jaeger'", lambda f: f["EndpointSlice"].pop()),
    (
        "two Telemetries",
        1,
        "IST0160",
        "2 Telemetry resources",
        lambda f: f["Telemetry"].append(
            objects.telemetry("u", ROOT, provider="jaeger", sampling_percent=100)
        ),
    ),
    (
        "lost indentation",
        2,
        "",
        "fields that do not exist",
        lambda f: mesh_text(f, "defaultConfig:\ntracing: {}\n"),
    ),
    ("not YAML", 2, "", "not YAML", lambda f: mesh_text(f, "a: [")),
    (
        "sampling one level up",
        2,
        "",
        "place where it is ignored",
        lambda f: mesh_text(
            f,
            MESH.replace("defaultConfig:\n", "defaultConfig:\n  sampling: 1\n"),
        ),
    ),
    (
        "gateway misspelt",
        3,
        "IST0101",
        "does not exist: wbe",
        lambda f: f["VirtualService"][0]["spec"].update(gateways=["wbe"]),
    ),
    (
        "other host",
        3,
        "IST0132",
        "no host that Gateway",
        lambda f: f["VirtualService"][0]["spec"].update(hosts=["www.shop.example"]),
    ),
    ("not exported", 3, "", "not exported", lambda f: f["VirtualService"][0]["spec"].update(exportTo=["."])),
    ("no VirtualService", 3, "", "no VirtualService is bound", lambda f: f["VirtualService"].clear()),
    ("pending", 6, "", "<pending>", lambda f: f["Service"][1].update(status={"loadBalancer": {}})),
    ("enable", 7, "IST0102", "not enabled for injection", bare),
    (
        "old pod",
        7,
        "IST0103",
        "has no sidecar",
        lambda f: f["Pod"][2]["spec"]["containers"].pop(),
    ),
    (
        "opted out",
        7,
        "IST0103",
        "has no sidecar",
        lambda f: (
            f["Pod"][2]["spec"]["containers"].pop(),
            f["Pod"][2]["metadata"]["labels"].update({"sidecar.istio.io/inject": "false"}),
        ),
    ),
    ("istiod down", 7, "", "istiod does not run", lambda f: f["EndpointSlice"].pop(0)),
    (
        "no caBundle",
        7,
        "",
        "webhook has no CA",
        lambda f: f["MutatingWebhookConfiguration"][0]["webhooks"][0]["clientConfig"].pop("caBundle"),
    ),
    ("no webhook", 7, "", "no injection webhook", lambda f: f["MutatingWebhookConfiguration"].clear()),
    ("host misspelt", 8, "IST0101", "host that does not exist", lambda f: route(f).update(host="wbe")),
    ("other port", 8, "IST0101", "to port 81", lambda f: route(f)["port"].update(number=81)),
    ("no subset", 8, "IST0101", "subset v2", lambda f: route(f).update(subset="v2")),
    (
        "empty subset",
        8,
        "IST0173",
        "has no pods",
        lambda f: (
            route(f).update(subset="v2"),
            f["DestinationRule"].append(rule(subsets=[{"name": "v2", "labels": {"version": "v2"}}])),
        ),
    ),
    (
        "wrong selector",
        8,
        "",
        "selects no pod",
        lambda f: f["Service"][0]["spec"].update(selector={"app": "wbe"}),
    ),
    (
        "wrong targetPort",
        8,
        "",
        "to 8080, which no container has",
        lambda f: f["Service"][0]["spec"]["ports"][0].update(targetPort=8080),
    ),
    ("not ready", 8, "", "is ready", lambda f: f["Pod"][2]["status"].update(conditions=[])),
    ("TLS against STRICT", 8, "", "disagree about mutual TLS", strict),
    (
        "gateway selector",
        9,
        "IST0101",
        "selects no pod",
        lambda f: f["Gateway"][0]["spec"].update(selector={"istio": "ingresgateway"}),
    ),
    ("port not in the Service", 9, "IST0162", "is in no Service", port_80_only),
    ("host twice", 9, "IST0145", "two Gateways publish", younger),
    (
        "allow nothing",
        10,
        "",
        "403 to every",
        lambda f: f["AuthorizationPolicy"].append(policy(NS, {}, {})),
    ),
    (
        "wrong principal",
        10,
        "",
        "403 to every",
        lambda f: f["AuthorizationPolicy"].append(
            policy(
                NS,
                {"app": "web"},
                {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/other/sa/gw"]}}]}]},
            )
        ),
    ),
    (
        "denied path",
        10,
        "",
        "403 to every",
        lambda f: f["AuthorizationPolicy"].append(
            policy(ROOT, {}, {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/health*"]}}]}]})
        ),
    ),
    (
        "token not demanded",
        10,
        "",
        "without a token pass",
        lambda f: f["RequestAuthentication"].append(policy(NS, {}, {"jwtRules": [{"issuer": "me"}]})),
    ),
    (
        "policy in the wrong namespace",
        10,
        "IST0127",
        "selects no pod",
        lambda f: f["AuthorizationPolicy"].append(policy(NS, {"istio": "ingressgateway"}, {"rules": [{}]})),
    ),
    (
        "unnamed port",
        11,
        "IST0118",
        "does not say its protocol",
        lambda f: f["Service"][0]["spec"]["ports"][0].pop("name"),
    ),
]


OLD = tls.common_name_only(HOST, 9)
KEYS = ("tls.crt", "tls.key")
NAMES = [each[0] for each in BREAKS]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert findings(snapshot(healthy())) == []


@pytest.mark.parametrize(("mode", "code", "words", "break_it"), [each[1:] for each in BREAKS], ids=NAMES)
def test_the_right_cause_comes_first(
    mode: int, code: str, words: str, break_it: Callable[[dict[str, list[Obj]]], object]
) -> None:
    found = healthy()
    break_it(found)
    first = findings(snapshot(found))[0]
    assert (MODES[first.mode], first.code) == (MODES[mode], code), first
    assert words in first.finding
    assert first.evidence
    assert first.cause
    assert first.fix.startswith(("kubectl ", "meshlib ", "istioctl "))


@pytest.mark.parametrize(
    ("credential", "mode", "code", "words"),
    [
        (Credential("missing"), 4, "IST0101", "there is no Secret"),
        (Credential("read", ("ca.crt",)), 4, "", "lacks tls.crt"),
        (
            Credential("read", ("tls.crt", "tls.key"), LEAF.certificate, "no match"),
            4,
            "IST0161",
            "no usable pair",
        ),
        (Credential("foreign", (), tls.leaf(CA, ["*.shop.example"], 9).certificate), 5, "", "does not cover"),
        (
            Credential("read", ("cert", "key"), tls.common_name_only(HOST, 9).certificate),
            5,
            "",
            "subjectAltName",
        ),
        (Credential("denied", reason="secrets is forbidden"), 4, "", "could not be looked at"),
    ],
)
def test_certificates(credential: Credential, mode: int, code: str, words: str) -> None:
    first = findings(snapshot(healthy(), credential))[0]
    assert (first.mode, first.code) == (mode, code)
    assert words in first.finding


def test_an_expired_certificate() -> None:
    late = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=31)
    first = findings(dataclasses.replace(snapshot(healthy()), now=late))[0]
    assert (first.mode, first.finding) == (5, "the certificate has expired")


def test_a_proxy_that_refuses_configuration() -> None:
    entry = {"proxy": f"gw.{ROOT}", "listener_sent": "2", "listener_acked": "1", "errors": ["port in use"]}
    first = findings(snapshot(healthy(), syncz=(entry,)))[0]
    assert first.mode == 9
    assert first.evidence == "STALE in proxy-status: listener; port in use"


def test_a_gateway_that_started_before_the_mesh_was_edited() -> None:
    found = healthy()
    edited = MESH.replace("tracing: {}", "tracing: {sampling: 5}")
    mesh_text(found, edited.replace("defaultConfig:\n", "defaultConfig:\n  concurrency: 7\n", 1))
    started = {f"gw.{ROOT}": {"discoveryAddress": f"istiod.{ROOT}.svc:15012"}}
    named = [each for each in findings(snapshot(found, started=started)) if each.mode == 2]
    assert [each.finding for each in named] == [f"pod {ROOT}/gw still has the old concurrency"]


@pytest.mark.parametrize(("path", "count"), [("/healthz", 0), ("/metrics", 1)])
def test_a_request_that_is_asked_about(path: str, count: int) -> None:
    found = findings(snapshot(healthy(), url=f"https://{HOST}{path}"))
    assert [each.mode for each in found] == [3] * count


def test_what_may_not_be_read_is_said_and_not_guessed() -> None:
    found = healthy()
    del found["Gateway"]
    only = findings(snapshot(found, unread={"Gateway": "gateways is forbidden"}))
    assert [each.finding for each in only] == ["Gateway objects could not be read"]


def test_an_undecided_request_is_no_finding() -> None:
    found = healthy()
    tokens = {"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]}
    found["AuthorizationPolicy"].append(policy(NS, {}, tokens))
    assert findings(snapshot(found)) == []


def test_the_table_has_one_row_a_finding() -> None:
    found = healthy()
    bare(found)
    shown = table(findings(snapshot(found)))
    assert list(shown.columns) == ["Mode", "Level", "Finding", "Evidence", "Cause", "Fix", "Code"]
    assert shown.iloc[0]["Mode"] == "sidecar missing"


def test_news_is_what_an_earlier_report_did_not_have() -> None:
    found = healthy()
    found["Telemetry"].clear()
    before = table(findings(snapshot(found)))
    strict(found)
    after = table(findings(snapshot(found)))
    assert set(before["Finding"]) < set(after["Finding"])
    assert news(after, before)["Mode"].tolist() == ["503"]
    assert news(after, after).empty
