"""Who is who and who may do what, over the wire."""

from __future__ import annotations

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from meshlib.lab.api.identity import Identity
from meshlib.lab.api.rbac import Attributes, Authorizer

from .conftest import Api, Obj

pytestmark = pytest.mark.anyio
GROUP = "rbac.authorization.k8s.io"
SECRETS = "/api/v1/namespaces/shop/secrets"
MAPS = "/api/v1/namespaces/shop/configmaps"


async def test_without_a_credential_only_health_and_version_are_shown(api: Api) -> None:
    client = api.client(None)
    for path in ("/readyz", "/livez", "/healthz", "/version"):
        assert (await client.get(path)).status_code == 200
    answer = await client.get(MAPS)
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" '
        'in the namespace "shop"'
    )
    answer = await client.get("/api")
    assert answer.json()["message"] == 'forbidden: User "system:anonymous" cannot get path "/api"'


async def test_a_token_that_nobody_has_is_unauthorized(api: Api) -> None:
    for credential in ("Bearer wrong", "Basic YTpi", "Bearer a.b.c"):
        answer = await api.client(None, authorization=credential).get(MAPS)
        assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


async def test_the_reader_reads_but_no_secrets_and_writes_nothing(api: Api) -> None:
    reader = api.client("reader")
    assert (await reader.get(MAPS)).status_code == 200
    assert (await reader.get("/apis/networking.istio.io/v1/gateways")).status_code == 200
    for method, path in (
        ("GET", SECRETS),
        ("GET", "/api/v1/secrets?watch=1"),
        ("POST", MAPS),
        ("DELETE", MAPS),
        ("PATCH", f"{MAPS}/x"),
        ("GET", "/api/v1/namespaces/shop/services/x/proxy/"),
        ("POST", "/api/v1/namespaces/shop/serviceaccounts/default/token"),
    ):
        answer = await reader.request(method, path, json={})
        assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden"), (method, path)
    body = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "shop"}}}
    answer = await reader.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=body)
    assert answer.json()["status"]["allowed"] is False


async def test_a_service_account_may_do_what_its_role_says(api: Api) -> None:
    asked = await api.client().post("/api/v1/namespaces/shop/serviceaccounts/default/token", json={})
    assert asked.status_code == 201
    token = asked.json()["status"]["token"]
    account = api.client(None, authorization=f"Bearer {token}")
    who = await account.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json={})
    assert who.json()["status"]["userInfo"]["username"] == "system:serviceaccount:shop:default"
    assert (await account.get(MAPS)).status_code == 403
    role = {"metadata": {"name": "r"}, "rules": [_rule("list", resources=["configmaps"])]}
    await api.registry.create(f"roles.{GROUP}", "shop", role, manager="t")
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
    }
    await api.registry.create(f"rolebindings.{GROUP}", "shop", binding, manager="t")
    assert (await account.get(MAPS)).status_code == 200
    assert (await account.get("/api/v1/namespaces/default/configmaps")).status_code == 403
    await api.registry.delete("serviceaccounts", "shop", "default")
    assert (await account.get(MAPS)).status_code == 401


async def test_a_way_into_a_pod_takes_get_and_create(api: Api) -> None:
    asked = await api.client().post("/api/v1/namespaces/shop/serviceaccounts/default/token", json={})
    bearer = {"Authorization": f"Bearer {asked.json()['status']['token']}"}
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
    }
    rules = [_rule("get", resources=["pods/exec"]), _rule("create", resources=["pods/attach"])]
    await api.registry.create(
        f"roles.{GROUP}", "shop", {"metadata": {"name": "r"}, "rules": rules}, manager="t"
    )
    await api.registry.create(f"rolebindings.{GROUP}", "shop", binding, manager="t")
    for part, lacking in (("exec", "create"), ("attach", "get"), ("portforward", "get")):
        url = f"{api.url.replace('https', 'wss')}/api/v1/namespaces/shop/pods/p/{part}?command=x&ports=1"
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, ssl=api.tls(None), additional_headers=bearer, proxy=None)
        assert caught.value.response.status_code == 403
        assert f'cannot {lacking} resource \\"pods/{part}\\"' in caught.value.response.body.decode()


async def test_the_admin_may_do_everything_and_is_told_so(api: Api) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "*", "resource": "*", "group": "*"}}}
    answer = await api.client().post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=body)
    assert answer.status_code == 201
    assert answer.json()["status"]["allowed"] is True


def _rule(*verbs: str, **more: list[str]) -> Obj:
    return {"verbs": list(verbs), "apiGroups": [""], "resources": ["*"], **more}


@pytest.mark.parametrize(
    ("rule", "what", "expected"),
    [
        (_rule("get"), Attributes("get", resource="pods"), True),
        (_rule("get"), Attributes("list", resource="pods"), False),
        (_rule("*"), Attributes("delete", resource="pods"), True),
        (_rule("get", resources=["pods"]), Attributes("get", resource="pods", subresource="log"), False),
        (_rule("get", resources=["pods/log"]), Attributes("get", resource="pods", subresource="log"), True),
        (_rule("get", resources=["*/scale"]), Attributes("get", resource="x", subresource="scale"), True),
        (_rule("get", resourceNames=["a"]), Attributes("get", resource="pods", name="a"), True),
        (_rule("get", resourceNames=["a"]), Attributes("get", resource="pods", name="b"), False),
        (_rule("get", apiGroups=["apps"]), Attributes("get", resource="pods"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["/logs/*"]}, Attributes("get", path="/logs/x"), True),
    ],
)
def test_rules(rule: Obj, what: Attributes, expected: bool) -> None:
    role = {"metadata": {"name": "r"}, "rules": [rule]}
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann"}],
    }

    class Objects:
        def list(self, resource: str, namespace: str | None = None) -> list[Obj]:
            return [role] if resource.startswith("clusterroles") else [binding]

    authorizer = Authorizer(Objects(), [])
    assert authorizer.allowed(Identity("ann"), what) is expected
    assert authorizer.allowed(Identity("ben"), what) is False


async def test_who_may_impersonate_acts_as_the_other(api: Api) -> None:
    acting = {"impersonate-user": "system:serviceaccount:shop:default"}
    admin = api.client("admin", **acting)
    answer = await admin.get(MAPS)
    assert answer.status_code == 403
    assert 'User "system:serviceaccount:shop:default" cannot list' in answer.json()["message"]
    answer = await api.client("reader", **acting).get(MAPS)
    assert 'cannot impersonate resource "serviceaccounts"' in answer.json()["message"]
    answer = await api.client("admin", **{"impersonate-group": "x"}).get(MAPS)
    assert answer.status_code == 400


async def _account_with(api: Api, *rules: Obj, cluster: bool = False) -> httpx.AsyncClient:
    """The default account of the namespace, with these rights."""
    prefix = "cluster" if cluster else ""
    role = {"metadata": {"name": "given"}, "rules": list(rules)}
    await api.registry.create(f"{prefix}roles.{GROUP}", None if cluster else "shop", role, manager="t")
    binding = {
        "metadata": {"name": "given"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole" if cluster else "Role", "name": "given"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
    }
    await api.registry.create(
        f"{prefix}rolebindings.{GROUP}", None if cluster else "shop", binding, manager="t"
    )
    asked = await api.client().post("/api/v1/namespaces/shop/serviceaccounts/default/token", json={})
    return api.client(None, authorization=f"Bearer {asked.json()['status']['token']}")


ROLES = f"/apis/{GROUP}/v1/namespaces/shop/roles"
BINDINGS = f"/apis/{GROUP}/v1/namespaces/shop/rolebindings"
MAY_GRANT = _rule("create", "get", "update", "patch", apiGroups=[GROUP], resources=["roles", "rolebindings"])


def _binding_of(name: str, kind: str = "ClusterRole") -> Obj:
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "shop"}
    ref = {"apiGroup": GROUP, "kind": kind, "name": name}
    return {"metadata": {"name": "more"}, "roleRef": ref, "subjects": [subject]}


async def test_nobody_grants_what_he_does_not_have(api: Api) -> None:
    account = await _account_with(api, MAY_GRANT, _rule("get", resources=["configmaps"]))
    role = {
        "metadata": {"name": "more"},
        "rules": [_rule("get", "list", resources=["secrets", "configmaps"])],
    }
    answer = await account.post(ROLES, json=role)
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "system:serviceaccount:shop:default" '
        '(groups=["system:serviceaccounts" "system:serviceaccounts:shop" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["configmaps"], Verbs:["list"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    answer = await account.post(BINDINGS, json=_binding_of("cluster-admin"))
    assert answer.status_code == 403
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in answer.json()["message"]
    assert '{NonResourceURLs:["*"], Verbs:["*"]}' in answer.json()["message"]
    assert (await account.post(BINDINGS, json=_binding_of("nothing"))).status_code == 404
    role["rules"] = [_rule("get", resources=["configmaps"], resourceNames=["basket"])]
    assert (await account.post(ROLES, json=role)).status_code == 201
    for method, content in (("PUT", None), ("PATCH", "application/merge-patch+json")):
        wider = {**role, "rules": [_rule("*", resources=["*"])]}
        headers = {"content-type": content} if content else None
        answer = await account.request(method, f"{ROLES}/more", json=wider, headers=headers)
        assert answer.status_code == 403, method
    assert (await account.post(BINDINGS, json=_binding_of("more", "Role"))).status_code == 201
    assert (await account.get(SECRETS)).status_code == 403


async def test_bind_and_escalate_are_the_rights_to_grant_more(api: Api) -> None:
    escalate = _rule("escalate", apiGroups=[GROUP], resources=["roles"], resourceNames=["more"])
    bind = _rule("bind", apiGroups=[GROUP], resources=["clusterroles"], resourceNames=["view"])
    account = await _account_with(api, MAY_GRANT, escalate, bind)
    role = {"metadata": {"name": "more"}, "rules": [_rule("list", resources=["secrets"])]}
    assert (await account.post(ROLES, json=role)).status_code == 201
    role["metadata"] = {"name": "other"}
    assert (await account.post(ROLES, json=role)).status_code == 403
    assert (await account.post(BINDINGS, json=_binding_of("view"))).status_code == 201
    other = _binding_of("edit")
    other["metadata"]["name"] = "other"
    assert (await account.post(BINDINGS, json=other)).status_code == 403


async def test_who_may_act_as_a_user_is_in_no_group_of_accounts_by_it(api: Api) -> None:
    account = await _account_with(
        api, _rule("impersonate", resources=["users"], resourceNames=["ann"]), cluster=True
    )
    account.headers["impersonate-user"] = "ann"
    assert (await account.get("/api")).status_code == 200
    account.headers["impersonate-group"] = "system:serviceaccounts"
    answer = await account.get("/api")
    assert answer.status_code == 403
    assert 'cannot impersonate resource "groups"' in answer.json()["message"]


async def test_an_editor_writes_no_status_and_sends_no_traffic_elsewhere(api: Api) -> None:
    for name in ("edit", "admin"):
        rules = (await api.client().get(f"/apis/{GROUP}/v1/clusterroles/{name}")).json()["rules"]
        written = {each for rule in rules if "update" in rule["verbs"] for each in rule["resources"]}
        assert {"pods", "deployments", "deployments/scale", "secrets", "gateways"} <= written
        assert not written & {"endpoints", "endpointslices", "resourcequotas", "pods/status", "pods/log"}


TOKEN = "/api/v1/namespaces/shop/serviceaccounts/default/token"


async def test_a_token_ends_with_the_pod_that_it_is_bound_to(api: Api) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    made = await api.registry.create("pods", "shop", pod, manager="t")
    asked = {"spec": {"boundObjectRef": {"kind": "Pod", "name": "p"}}}
    answer = await api.client().post(TOKEN, json=asked)
    account = api.client(None, authorization=f"Bearer {answer.json()['status']['token']}")
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    who = (await account.post(review, json={})).json()["status"]["userInfo"]
    assert who["extra"]["authentication.kubernetes.io/pod-uid"] == [made["metadata"]["uid"]]
    await api.registry.delete("pods", "shop", "p", grace_s=0)
    assert (await account.post(review, json={})).status_code == 401


@pytest.mark.parametrize(
    ("spec", "status", "why"),
    [
        ({"expirationSeconds": 10**15}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Pod", "name": "none"}}, 404, 'pods "none" not found'),
        ({"boundObjectRef": {"kind": "Pod"}}, 404, "not found"),
        (
            {"boundObjectRef": {"kind": "Secret", "name": "s"}},
            400,
            "cannot bind token to object of type Secret",
        ),
        (
            {"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "other"}},
            409,
            "does not match the UID in record",
        ),
        ({"boundObjectRef": {"kind": "Pod", "name": "q"}}, 400, "running with different serviceaccount"),
    ],
)
async def test_a_token_that_would_not_hold_is_refused(api: Api, spec: Obj, status: int, why: str) -> None:
    await api.registry.create("serviceaccounts", "shop", {"metadata": {"name": "other"}}, manager="t")
    for name, account in (("p", "default"), ("q", "other")):
        containers = [{"name": "c", "image": "x"}]
        pod = {"metadata": {"name": name}, "spec": {"containers": containers, "serviceAccountName": account}}
        await api.registry.create("pods", "shop", pod, manager="t")
    answer = await api.client().post(TOKEN, json={"spec": spec})
    assert answer.status_code == status
    assert why in answer.json()["message"]
