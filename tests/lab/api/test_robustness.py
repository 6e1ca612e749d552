"""Malformed requests: never a 500, never a lost server, and every refusal is a Status."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest

from meshlib.lab.api import server

from .conftest import Api

pytestmark = pytest.mark.anyio
REQUESTS = int(os.environ.get("MESHLIB_FUZZ_REQUESTS", "1500"))
SEED = int(os.environ.get("MESHLIB_FUZZ_SEED", "20261123"))


def _bomb(level: str) -> str:
    """Nine levels of ten aliases each, a thousand million values; `level` takes the aliases of one."""
    lines = (
        f"a{number}: &a{number} {level.format(', '.join([f'*a{number - 1}'] * 10))}"
        for number in range(1, 10)
    )
    return "\n".join(["a0: &a0 {k: v}", *lines])


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]
PLURALS = ["configmaps", "pods", "services", "secrets", "events", "namespaces", "nodes", "widgets", "pods%2f"]
GROUPS = [
    "api/v1",
    "apis/apps/v1",
    "apis/networking.istio.io/v1",
    "apis/none/v1",
    "apis",
    "api",
    "openapi/v3",
    "x",
]
NAMES = ["basket", "..", "%00", "a" * 300, "Ünïcode", "a b", "%ff%fe", "status", "x?", "-"]
PARTS = [
    "/status",
    "/scale",
    "/log",
    "/exec",
    "/proxy",
    "/proxy/x",
    "/eviction",
    "/token",
    "/binding",
    "/nothing",
]
REAL = [
    "/api/v1/namespaces/shop/configmaps",
    "/api/v1/namespaces/shop/configmaps/basket",
    "/api/v1/namespaces/shop/pods",
    "/api/v1/namespaces/shop/services",
    "/api/v1/namespaces/shop/secrets",
    "/api/v1/namespaces/shop/events",
    "/api/v1/namespaces",
    "/api/v1/namespaces/shop/serviceaccounts/default",
    "/api/v1/namespaces/shop/serviceaccounts/default/token",
    "/apis/apps/v1/namespaces/shop/deployments",
    "/apis/apps/v1/namespaces/shop/deployments/till/scale",
    "/apis/apps/v1/namespaces/shop/deployments/till",
    "/apis/networking.istio.io/v1/namespaces/shop/gateways",
    "/apis/networking.istio.io/v1/namespaces/shop/virtualservices",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "/apis/events.k8s.io/v1/namespaces/shop/events",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/policy/v1/namespaces/shop/poddisruptionbudgets",
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
]
QUERIES = [
    "",
    "limit=abc",
    "limit=-1&continue=%00",
    "continue=eyJ2IjoibWV0YSJ9",
    "labelSelector=a%20in%20(",
    "labelSelector=%ff",
    "fieldSelector===",
    "fieldSelector=metadata.name",
    "resourceVersion=-1",
    "resourceVersion=99999999999999999999",
    "resourceVersionMatch=Sometimes",
    "dryRun=Some",
    "fieldValidation=Maybe",
    "watch=1&timeoutSeconds=x",
    "tailLines=-5&limitBytes=0",
    "propagationPolicy=Never",
    "gracePeriodSeconds=1e9",
    "includeObject=All",
    "&&&=&%",
]
TYPES = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
    ";;;",
]
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
ACCEPTS = ["*/*", "application/json", "application/yaml", TABLE, "a;b=c;q=x"]
VALUES: list[Any] = [None, True, -1, 1.5, 2**70, "", "x", "\ud83d", [], [None], {}, {"": None}, [[[]]]]
FIELDS = [
    "metadata",
    "spec",
    "status",
    "data",
    "apiVersion",
    "kind",
    "op",
    "path",
    "value",
    "stringData",
    "rules",
    "subjects",
]
NESTED = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "finalizers",
    "ownerReferences",
    "resourceVersion",
    "managedFields",
    "annotations",
    "template",
    "selector",
    "ports",
    "containers",
    "replicas",
    "hosts",
    "http",
    "servers",
    "type",
    "clusterIP",
    "token",
    "expirationSeconds",
    "resourceAttributes",
    "nonResourceAttributes",
    "paused",
    "minAvailable",
]


def body(rng: random.Random) -> bytes:
    match rng.randrange(6):
        case 0:
            return b""
        case 1:
            return rng.randbytes(rng.randrange(80))
        case 2:
            return b"k8s\x00" + rng.randbytes(rng.randrange(80))
        case 3:
            return b"[" * rng.randrange(3000)
        case 4:
            return b"a: &a [*a, *a]\nb: !!python/object:os.system {}\n? {c: d}\n: 2026-01-01\n"
    made = {key: rng.choice(VALUES) for key in rng.sample(FIELDS, rng.randrange(1, 6))}
    for key in ("metadata", "spec"):
        if rng.random() < 0.7:
            made[key] = {each: rng.choice(VALUES) for each in rng.sample(NESTED, rng.randrange(6))}
    if rng.random() < 0.6:
        made = {"metadata": {"name": rng.choice(["basket", "till", "new"])}, "spec": made.get("spec")}
        made[rng.choice(FIELDS)] = rng.choice(VALUES)
    return json.dumps(rng.choice([made, made, made, [made], {"items": [made]}])).encode("utf-8", "replace")


def request(rng: random.Random) -> tuple[str, str, dict[str, str], bytes]:
    scope = rng.choice(["", "/namespaces/shop", "/namespaces/nowhere", "/watch", "/namespaces"])
    path = f"/{rng.choice(GROUPS)}{scope}/{rng.choice(PLURALS)}"
    if rng.random() < 0.6:
        path += f"/{rng.choice(NAMES)}{rng.choice(['', *PARTS])}"
    if rng.random() < 0.6:
        path = rng.choice(REAL)
    headers = {"content-type": rng.choice(TYPES), "accept": rng.choice(ACCEPTS)}
    query = rng.choice(QUERIES)
    if "watch" in path or "watch=1" in query:
        query += "&timeoutSeconds=1&resourceVersion=1"
    return rng.choice(METHODS), f"{path}?{query}", headers, body(rng)


async def test_malformed_requests_are_refused_with_a_status(api: Api) -> None:
    rng = random.Random(SEED)
    requests = [request(rng) for _ in range(REQUESTS)]
    await api.registry.create("configmaps", "shop", {"metadata": {"name": "basket"}}, manager="t")
    labels = {"app": "till"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "till:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    till = {"metadata": {"name": "till"}, "spec": spec}
    await api.registry.create("deployments.apps", "shop", till, manager="t")
    client = api.client()
    waiting = asyncio.Semaphore(8)

    async def send(method: str, url: str, headers: dict[str, str], content: bytes) -> None:
        async with waiting:
            answer = await client.request(method, url, headers=headers, content=content)
        said = (method, url, headers, content[:300], answer.status_code, answer.text[:500])
        assert answer.status_code < 500 or answer.status_code == 504, said
        if answer.status_code >= 400 and method != "HEAD":
            status = answer.json()
            assert (status["kind"], status["code"]) == ("Status", answer.status_code), said

    await asyncio.gather(*(send(*each) for each in requests[: REQUESTS // 2]))
    before = psutil.Process().memory_info().rss
    await asyncio.gather(*(send(*each) for each in requests[REQUESTS // 2 :]))
    grown = psutil.Process().memory_info().rss - before
    assert grown < 30e6
    assert (await client.get("/readyz")).text == "ok"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_status(api: Api, raw: bytes) -> None:
    host, port = api.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=api.tls("admin"))
    writer.write(raw)
    head, _, text = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1][:1] == b"4"
    assert json.loads(text)["kind"] == "Status"


async def test_a_half_closed_connection_costs_nothing(api: Api) -> None:
    host, port = api.url.removeprefix("https://").split(":")
    for _ in range(20):
        _, writer = await asyncio.open_connection(host, int(port), ssl=api.tls("admin"))
        writer.write(b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
    assert (await api.client().get("/readyz")).text == "ok"


async def test_a_huge_body_is_refused_before_it_is_read(api: Api) -> None:
    content = b" " * (3 * 1024 * 1024 + 1)
    answer = await api.client().post("/api/v1/namespaces", content=content)
    assert answer.status_code == 413
    assert answer.json()["reason"] == "RequestEntityTooLarge"


async def test_a_huge_chunked_body_is_refused(api: Api) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 65536

    try:
        answer = await api.client().post("/api/v1/namespaces", content=chunks())
    except httpx.WriteError:  # the server closed while the client was still writing
        return
    assert answer.status_code == 413


@pytest.mark.parametrize("depth", [300, 600, 800, 960, 5000])
async def test_a_deeply_nested_patch_is_the_callers_fault(api: Api, depth: int) -> None:
    client = api.client()
    path = "/api/v1/namespaces/shop/configmaps"
    assert (await client.post(path, json={"metadata": {"name": "deep"}})).status_code == 201
    nest = '{"a":' * depth + "1" + "}" * depth
    for media in ("merge-patch", "strategic-merge-patch"):
        headers = {"Content-Type": f"application/{media}+json"}
        answer = await client.patch(f"{path}/deep", content=f'{{"x":{nest}}}', headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert (await client.get(f"{path}/deep")).json().get("x") is None


REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 2_000_000, "exceeded max depth"),
        ("- " * 1_000_000, "exceeded max depth"),
        ("{a: " * 500_000, "exceeded max depth"),
        (_bomb("[{}]"), "document contains excessive aliasing"),
        (_bomb("{{<<: [{}]}}"), "document contains excessive aliasing"),
        (f"a: &a {'x' * 200_000}\nb: [{', '.join(['*a'] * 2000)}]", "document contains excessive aliasing"),
        ("a: &a [*a]", "Circular reference detected"),
    ],
)
async def test_yaml_that_is_a_bomb_is_refused(api: Api, text: str, why: str) -> None:
    before = psutil.Process().memory_info().rss
    answer = await api.client(None, authorization="Bearer static-token").post(
        REVIEWS, content=text, headers={"content-type": "application/yaml"}
    )
    assert answer.status_code == 400
    assert f"error converting YAML to JSON: yaml: {why}" in answer.json()["message"]
    assert psutil.Process().memory_info().rss - before < 300 * 2**20


async def test_yaml_with_a_few_aliases_is_read(api: Api) -> None:
    text = "kind: ConfigMap\nmetadata: &m {name: twice}\ndata: {a: &a b, c: *a}\n"
    url = "/api/v1/namespaces/shop/configmaps"
    answer = await api.client().post(url, content=text, headers={"content-type": "application/yaml"})
    assert answer.json()["data"] == {"a": "b", "c": "b"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("a=1&" * 1001, 400),
        ("limit=9223372036854775808", 400),
        ("limit=9223372036854775807", 200),
        ("limit=-99999999999999999999", 400),
        ("resourceVersion=9999999999999999999", 504),
        ("resourceVersion=99999999999999999999", 400),
        ("watch=1&timeoutSeconds=1&resourceVersion=9999999999999999999", 200),
        ("watch=1&resourceVersion=99999999999999999999", 422),
        ("watch=1&timeoutSeconds=9999999999999999999", 400),
    ],
)
async def test_numbers_that_are_out_of_range_are_refused(api: Api, query: str, status: int) -> None:
    answer = await api.client().get(f"/api/v1/namespaces/shop/configmaps?{query}")
    assert answer.status_code == status, answer.text


async def test_a_pod_log_takes_any_number_and_no_time_without_zone(api: Api) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    await api.registry.create("pods", "shop", pod, manager="t")
    url = "/api/v1/namespaces/shop/pods/p/log"
    for number in (2**31, 2**62):
        answer = await api.client().get(f"{url}?sinceSeconds={number}")
        assert answer.status_code == 200, answer.text
    answer = await api.client().get(f"{url}?sinceTime=2026-01-01T00:00:00")
    assert answer.status_code == 400


async def test_a_watch_may_be_asked_to_last_forever(api: Api) -> None:
    url = f"/api/v1/namespaces/shop/configmaps?watch=1&timeoutSeconds={2**63 - 1}&resourceVersion=0"
    async with api.client().stream("GET", url) as answer:
        await api.registry.create("configmaps", "shop", {"metadata": {"name": "seen"}}, manager="t")
        lines = answer.aiter_lines()
        assert '"seen"' in await asyncio.wait_for(anext(lines), 5)


async def _head(api: Api, *parts: bytes) -> bytes:
    """The first line of what a caller without a credential is answered, b"" when the server hangs up."""
    port = int(api.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=api.tls(None))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_head_without_end_is_refused(api: Api) -> None:
    large = b"a" * (2 << 20)
    start = b"GET /version HTTP/1.1\r\nHost: x\r\n"
    chunked = b"POST /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: "
    before = psutil.Process().memory_info().rss
    for parts in (
        (start, b"X: ", large),
        (b"GET /", large),
        (start, b"X: y\r\n" * 300_000),
        (chunked, large),
    ):
        assert b"200" not in await _head(api, *parts)
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert b"431" in await _head(api, start, b"X: ", large)
    body = json.dumps({"metadata": {"name": "large"}, "data": {"k": "x" * 900_000}}).encode()
    answer = await api.client().post("/api/v1/namespaces/shop/configmaps", content=_in_small_chunks(body))
    assert answer.status_code == 201


async def _in_small_chunks(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 100):
        yield body[at : at + 100]


async def test_who_says_nothing_is_hung_up_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    start = b"GET /version HTTP/1.1\r\n"
    assert await _head(api) == b""
    assert await _head(api, start) == b""
    assert b"200" in await _head(api, start, b"Host: x\r\n\r\n")
    watching = "/api/v1/namespaces/shop/configmaps?watch=1&timeoutSeconds=1"
    assert (await api.client().get(watching)).status_code == 200
