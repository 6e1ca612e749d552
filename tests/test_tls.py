"""Certificates: what is made is accepted by a verifying client, and what is wrong is refused for the right
reason."""

import pytest

from meshlib import tls

HOSTS = ["gohttpserver.io", "*.gohttpserver.io"]


@pytest.fixture(scope="module")
def ca() -> tls.Pair:
    return tls.authority("lab CA", 30)


@pytest.fixture(scope="module")
def leaf(ca: tls.Pair) -> tls.Pair:
    return tls.leaf(ca, HOSTS, 90)


@pytest.fixture(scope="module")
def seed() -> tls.Pair:
    return tls.common_name_only("*.gohttpserver.io", 365, organization="cncamp Inc.")


def test_leaf_is_accepted_for_apex_and_one_label(ca: tls.Pair, leaf: tls.Pair) -> None:
    assert tls.refusal(leaf, "gohttpserver.io", ca.certificate) == ""
    assert tls.refusal(leaf, "www.gohttpserver.io", ca.certificate) == ""


def test_wildcard_stands_for_exactly_one_label(ca: tls.Pair, leaf: tls.Pair) -> None:
    assert "not valid for 'a.b.gohttpserver.io'" in tls.refusal(leaf, "a.b.gohttpserver.io", ca.certificate)
    assert not tls.covers(leaf.certificate, "a.b.gohttpserver.io")
    assert not tls.covers(tls.leaf(ca, ["*.gohttpserver.io"], 1).certificate, "gohttpserver.io")


@pytest.mark.parametrize("host", ["gohttpserver.io", "www.gohttpserver.io"])
def test_a_common_name_is_no_name(seed: tls.Pair, host: str) -> None:
    assert f"not valid for '{host}'" in tls.refusal(seed, host, seed.certificate)
    assert tls.names(seed.certificate) == []


def test_self_signed_is_refused_by_who_does_not_know_it(ca: tls.Pair, seed: tls.Pair) -> None:
    assert tls.refusal(seed, "www.gohttpserver.io", ca.certificate) == "self-signed certificate"


def test_expired_is_refused(ca: tls.Pair) -> None:
    old = tls.leaf(ca, HOSTS, 0)
    assert tls.days_left(old.certificate) < 0
    assert tls.refusal(old, "gohttpserver.io", ca.certificate) == "certificate has expired"


def test_the_key_does_not_show(leaf: tls.Pair) -> None:
    assert "PRIVATE" not in repr(leaf)
    assert tls.fingerprint(leaf.certificate)[:23] in repr(leaf)


def test_describe_says_what_is_missing(seed: tls.Pair) -> None:
    facts = dict(tls.describe(seed.certificate).itertuples(index=False))
    assert facts["subjectAltName"] == "missing"
    assert facts["signed by"] == "itself"
    assert facts["subject"] == "CN=*.gohttpserver.io,O=cncamp Inc."
