from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from meshlib.errors import LabError
from meshlib.lab.istiod.ca import Authority

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create(now=NOW)


def test_the_secret_has_istios_five_keys_and_leads_back_to_the_same_ca(authority: Authority) -> None:
    secret = authority.to_secret("istio-system")
    assert secret["type"] == "istio.io/ca-root"
    assert sorted(secret["data"]) == [
        "ca-cert.pem",
        "ca-key.pem",
        "cert-chain.pem",
        "key.pem",
        "root-cert.pem",
    ]
    again = Authority.from_secret(secret)
    assert again.root_pem == authority.root_pem
    assert again.certificate == authority.certificate


def test_a_workload_certificate_names_the_account_and_nothing_else(authority: Authority) -> None:
    issued = authority.workload("cluster.local", "httpserver-istio", "default", now=NOW)
    leaf = x509.load_pem_x509_certificate(issued.chain_pem.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/httpserver-istio/sa/default"
    ]
    assert len(names.value) == 1
    assert leaf.subject == x509.Name([])
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=24)
    assert issued.renew_at == NOW + timedelta(hours=12)
    leaf.verify_directly_issued_by(authority.certificate)


def test_the_webhooks_certificate_satisfies_a_strict_verifier(authority: Authority) -> None:
    name = "istiod.istio-system.svc"
    issued = authority.server([name], now=NOW)
    leaf = x509.load_pem_x509_certificate(issued.chain_pem.encode())
    verifier = PolicyBuilder().store(Store([authority.certificate])).time(NOW)
    verifier.build_server_verifier(x509.DNSName(name)).verify(leaf, [])


def test_a_key_of_another_ca_is_refused(authority: Authority) -> None:
    secret = authority.to_secret("istio-system")
    secret["data"]["ca-key.pem"] = Authority.create().to_secret("x")["data"]["ca-key.pem"]
    with pytest.raises(LabError, match="does not belong"):
        Authority.from_secret(secret)


def test_a_missing_key_is_named(authority: Authority) -> None:
    secret = authority.to_secret("istio-system")
    del secret["data"]["ca-key.pem"]
    with pytest.raises(LabError, match=r"istio-system/istio-ca-secret lacks ca-key.pem"):
        Authority.from_secret(secret)


def test_keys_do_not_show_in_representations(authority: Authority) -> None:
    assert "PRIVATE" not in repr(authority.workload("cluster.local", "a", "b"))
