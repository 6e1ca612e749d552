from __future__ import annotations

import base64
from typing import Any

import pytest

from meshlib.lab.istiod.ca import Authority
from meshlib.lab.istiod.credentials import Unusable, authority, certificate


def secret(**data: str) -> dict[str, Any]:
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {"metadata": {"name": "web", "namespace": "istio-system"}, "data": encoded}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    issued = [Authority.create().server(["web.example"]) for _ in range(2)]
    return [(x.chain_pem, x.key_pem) for x in issued]


@pytest.mark.parametrize("keys", [("tls.crt", "tls.key"), ("cert", "key")])
def test_both_spellings_of_a_pair_are_taken(pairs: list[tuple[str, str]], keys: tuple[str, str]) -> None:
    found = certificate("kubernetes://web", secret(**dict(zip(keys, pairs[0], strict=True))))
    assert found["name"] == "kubernetes://web"
    assert found["tls_certificate"]["certificate_chain"]["inline_string"] == pairs[0][0]


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda p: None, "not there holds no pair"),
        (lambda p: secret(other="x"), "istio-system/web holds no pair: .* found other"),
        (lambda p: secret(**{"tls.crt": p[0][0], "tls.key": p[1][1]}), "does not belong"),
        (lambda p: secret(**{"tls.crt": "x", "tls.key": p[0][1]}), "certificate cannot be parsed"),
        (lambda p: secret(**{"tls.crt": p[0][0], "tls.key": "x"}), "private key cannot be parsed"),
    ],
)
def test_a_bad_pair_is_refused_with_its_reason(pairs: list[tuple[str, str]], build: Any, why: str) -> None:
    with pytest.raises(Unusable, match=why) as refused:
        certificate("kubernetes://web", build(pairs))
    assert "BEGIN" not in str(refused.value)


def test_the_ca_comes_from_its_own_secret_else_from_the_pairs(pairs: list[tuple[str, str]]) -> None:
    first, second = (pair[0] for pair in pairs)
    own, of_pair = secret(cacert=second), secret(**{"ca.crt": first})
    name = "kubernetes://web-cacert"

    def trusted(found: dict[str, Any]) -> str:
        return str(found["validation_context"]["trusted_ca"]["inline_string"])

    assert trusted(authority(name, of_pair, own)) == second
    assert trusted(authority(name, of_pair, None)) == first
    with pytest.raises(Unusable, match="holds no CA"):
        authority(name, secret(**{"tls.crt": first}), None)
