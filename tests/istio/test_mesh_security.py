"""The policies as built, and the identity read from X-Forwarded-Client-Cert."""

import json

import pytest

from meshlib.istio import mesh_security

TILL = "spiffe://cluster.local/ns/shop/sa/till"
HOP = f'By=spiffe://cluster.local/ns/shop/sa/ledger;Hash=ab12;Subject="CN=a,O=b";URI={TILL}'


@pytest.mark.parametrize(
    ("status", "echo", "caller"),
    [
        (200, json.dumps({"X-Forwarded-Client-Cert": HOP}), TILL),
        (200, json.dumps({"x-forwarded-client-cert": f"By=x;URI=spiffe://c/ns/edge/sa/gw,{HOP}"}), TILL),
        (200, json.dumps({"accept": "*/*"}), mesh_security.NOBODY),
        (200, json.dumps({"x-forwarded-client-cert": "Hash=ab12"}), mesh_security.NOBODY),
        (404, "404 page not found", mesh_security.NO_ECHO),
        (404, json.dumps({"x-forwarded-client-cert": HOP}), mesh_security.NO_ECHO),
        (200, "[]", mesh_security.NO_ECHO),
    ],
)
def test_caller(status: int, echo: str, caller: str) -> None:
    assert mesh_security.caller(status, echo) == caller


def test_a_comma_in_a_subject_parts_no_hops() -> None:
    (hop,) = mesh_security.forwarded(HOP)
    assert hop["Subject"] == "CN=a,O=b"


def test_a_rule_holds_only_what_was_given() -> None:
    assert mesh_security.rule(methods=["GET"]) == {"to": [{"operation": {"methods": ["GET"]}}]}
    both = mesh_security.rule(principals=["p"], request_principals=["i/s"], paths=["/a"])
    assert both["from"] == [{"source": {"principals": ["p"], "requestPrincipals": ["i/s"]}}]
    assert both["to"] == [{"operation": {"paths": ["/a"]}}]


def test_without_rules_a_policy_denies_everything() -> None:
    policy = mesh_security.authorization_policy("none", "shop", app="ledger", rules=[])
    assert policy["spec"] == {"selector": {"matchLabels": {"app": "ledger"}}, "action": "ALLOW"}
