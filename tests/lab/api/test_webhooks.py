"""Admission webhooks, called for real over HTTPS."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from meshlib.lab import pki
from meshlib.lab.api.errors import StatusError

from .conftest import Api, Obj

pytestmark = pytest.mark.anyio
Answer = Callable[[Obj], Obj]


class Hook:
    """An HTTPS server that answers AdmissionReviews; `asked` are the requests that it got."""

    def __init__(self, certificates: pki.Pki, answer: Answer) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificates.certificate("apiserver"), certificates.key("apiserver"))
        self._answer = answer
        self.asked: list[Obj] = []
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Hook:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await self._head(reader):
            length = int(next(v for k, v in head if k == "content-length"))
            request = json.loads(await reader.readexactly(length))["request"]
            self.asked.append(request)
            response = {"uid": request["uid"], **self._answer(request)}
            review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
            body = json.dumps(review).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> list[tuple[str, str]]:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return []
        pairs = [line.partition(": ") for line in text.split("\r\n")[1:] if line]
        return [(key.lower(), value) for key, _, value in pairs]


def allow(_: Obj) -> Obj:
    return {"allowed": True}


def patch(*operations: Obj) -> Answer:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


async def configure(
    api: Api, certificates: pki.Pki, hook_url: str, *, kind: str = "Mutating", **more: Any
) -> None:
    client = {"url": hook_url, "caBundle": base64.b64encode(certificates.ca.read_bytes()).decode()}
    webhook = {
        "name": "check.example.test",
        "clientConfig": client,
        "rules": [
            {
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["configmaps"],
            }
        ],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **more,
    }
    resource = f"{kind.lower()}webhookconfigurations.admissionregistration.k8s.io"
    await api.registry.create(resource, None, {"metadata": {"name": "c"}, "webhooks": [webhook]}, manager="t")


async def create(api: Api, name: str = "basket", labels: dict[str, str] | None = None) -> Obj:
    obj = {"metadata": {"name": name, "labels": labels or {}}, "data": {"k": "v"}}
    return await api.registry.create("configmaps", "shop", obj, manager="ann")


async def test_a_patch_is_applied_and_the_review_is_complete(api: Api, certificates: pki.Pki) -> None:
    async with Hook(certificates, patch({"op": "add", "path": "/data/more", "value": "1"})) as hook:
        await configure(api, certificates, f"https://127.0.0.1:{hook.port}/mutate")
        made = await create(api)
        await create(api, "other")
    assert made["data"] == {"k": "v", "more": "1"}
    request = hook.asked[0]
    assert request["operation"] == "CREATE"
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert request["object"]["kind"] == "ConfigMap"
    assert request["userInfo"]["username"] == "system:admin"
    assert hook.connections == 1


async def test_a_denial_carries_the_name_and_the_message(api: Api, certificates: pki.Pki) -> None:
    def deny(_: Obj) -> Obj:
        return {"allowed": False, "status": {"message": "no baskets today", "code": 418}}

    async with Hook(certificates, deny) as hook:
        await configure(api, certificates, f"https://127.0.0.1:{hook.port}/", kind="Validating")
        with pytest.raises(StatusError) as caught:
            await create(api)
    assert caught.value.message == (
        'admission webhook "check.example.test" denied the request: no baskets today'
    )
    assert caught.value.status == 418
    assert api.registry.find("configmaps", "shop", "basket") is None


async def test_selectors_and_rules_decide_who_is_asked(api: Api, certificates: pki.Pki) -> None:
    async with Hook(certificates, allow) as hook:
        url = f"https://127.0.0.1:{hook.port}/"
        labels = {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}
        objects = {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
        await configure(
            api, certificates, url, kind="Validating", namespaceSelector=labels, objectSelector=objects
        )
        await create(api, "asked")
        await create(api, "skipped", {"skip": "yes"})
        elsewhere = {"metadata": {"name": "elsewhere"}}
        await api.registry.create("configmaps", "default", elsewhere, manager="ann")
        await api.registry.create("secrets", "shop", {"metadata": {"name": "s"}}, manager="ann")
    assert [each["name"] for each in hook.asked] == ["asked"]


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_the_failure_policy_decides_when_nobody_answers(
    api: Api, certificates: pki.Pki, policy: str
) -> None:
    async with Hook(certificates, allow) as hook:
        url = f"https://127.0.0.1:{hook.port}/"
    await configure(api, certificates, url, failurePolicy=policy)
    if policy == "Ignore":
        await create(api)
        return
    with pytest.raises(StatusError) as caught:
        await create(api)
    assert caught.value.status == 500
    assert caught.value.message.startswith(
        'Internal error occurred: failed calling webhook "check.example.test": failed to call webhook: Post'
    )
    assert caught.value.message.endswith("connect: connection refused")


async def test_a_certificate_of_another_authority_is_not_trusted(
    api: Api, certificates: pki.Pki, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = pki.prepare(tmp_path_factory.mktemp("stranger"), ("127.0.0.1",))
    async with Hook(stranger, allow) as hook:
        await configure(api, certificates, f"https://127.0.0.1:{hook.port}/")
        with pytest.raises(StatusError, match="certificate signed by unknown authority"):
            await create(api)
    assert hook.asked == []


async def test_a_service_is_found_through_its_endpoints(api: Api, certificates: pki.Pki) -> None:
    async with Hook(certificates, allow) as hook:
        service = {"metadata": {"name": "kubernetes"}, "spec": {"ports": [{"port": 443}]}}
        await api.registry.create("services", "default", service, manager="t")
        piece = {
            "metadata": {"name": "k-1", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
            "ports": [{"name": "", "port": hook.port, "protocol": "TCP"}],
        }
        await api.registry.create("endpointslices.discovery.k8s.io", "default", piece, manager="t")
        bundle = base64.b64encode(certificates.ca.read_bytes()).decode()
        reference = {"namespace": "default", "name": "kubernetes", "path": "/validate"}
        await configure(api, certificates, "", clientConfig={"service": reference, "caBundle": bundle})
        await create(api)
    assert len(hook.asked) == 1


async def test_a_service_without_endpoints_is_said(api: Api, certificates: pki.Pki) -> None:
    service = {"metadata": {"name": "istiod"}, "spec": {"ports": [{"port": 443}]}}
    await api.registry.create("services", "default", service, manager="t")
    reference = {"namespace": "default", "name": "istiod", "path": "/inject"}
    await configure(api, certificates, "", clientConfig={"service": reference})
    with pytest.raises(StatusError, match='no endpoints available for service "istiod"'):
        await create(api)


async def test_warnings_reach_the_caller(api: Api, certificates: pki.Pki) -> None:
    def warn(_: Obj) -> Obj:
        return {"allowed": True, "warnings": ['mind the "gap"']}

    async with Hook(certificates, warn) as hook:
        await configure(api, certificates, f"https://127.0.0.1:{hook.port}/", kind="Validating")
        body = {"metadata": {"name": "basket"}}
        answer = await api.client().post("/api/v1/namespaces/shop/configmaps", json=body)
    assert answer.status_code == 201
    assert answer.headers["warning"] == '299 - "mind the \\"gap\\""'


async def test_conditions_that_nobody_evaluates_are_refused(api: Api, certificates: pki.Pki) -> None:
    conditions = [{"name": "never", "expression": "false"}]
    with pytest.raises(StatusError, match="evaluates no match conditions") as caught:
        await configure(api, certificates, "https://127.0.0.1:1/", matchConditions=conditions)
    assert caught.value.status == 422


async def test_an_answer_without_end_is_a_failure(api: Api, certificates: pki.Pki) -> None:
    async with Hook(certificates, lambda _: {"allowed": True, "warnings": ["x" * (4 << 20)]}) as hook:
        await configure(api, certificates, f"https://127.0.0.1:{hook.port}/", kind="Validating")
        with pytest.raises(StatusError, match="its answer is larger than 3145728 bytes"):
            await create(api)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h/", "Invalid value: \"http\": 'https' is the only allowed URL scheme"),
        ("file:///etc/passwd", "Invalid value: \"file\": 'https' is the only allowed URL scheme"),
        ("https://", 'Invalid value: "": host must be specified'),
        ("https://ann:secret@h/", "Forbidden: user information is not permitted in the URL"),
        ("https://h/?a=1", 'Invalid value: "a=1": query parameters are not permitted in the URL'),
        ("https://h/#f", 'Invalid value: "f": fragments are not permitted in the URL'),
        ("https://h:port/", "Required value: url must be a valid URL"),
    ],
)
async def test_objects_go_to_webhooks_by_https_only(
    api: Api, certificates: pki.Pki, url: str, why: str
) -> None:
    with pytest.raises(StatusError) as refused:
        await configure(api, certificates, url)
    assert refused.value.status == 422
    assert f"webhooks[0].clientConfig.url: {why}" in refused.value.message
    assert "secret" not in refused.value.message


async def test_a_webhook_is_in_one_place(api: Api, certificates: pki.Pki) -> None:
    both = {"url": "https://h/", "service": {"namespace": "shop", "name": "s"}}
    for client in ({}, both):
        with pytest.raises(StatusError, match="exactly one of url or service is required"):
            await configure(api, certificates, "", clientConfig=client)
    nameless = {"service": {"namespace": "", "name": "", "port": 65536, "path": "x"}}
    with pytest.raises(StatusError) as refused:
        await configure(api, certificates, "", clientConfig=nameless, timeoutSeconds=31)
    for why in (
        "service name is required",
        "service namespace is required",
        "port is not valid",
        "must start with a '/'",
        "between 1 and 30 seconds",
    ):
        assert why in refused.value.message
