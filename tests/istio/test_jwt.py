"""Tokens: what is signed is what a verifier with the published key accepts."""

import base64
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from meshlib.istio import jwt

ISSUER = jwt.issuer("https://issuer.example", "k7")


def unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def published(issuer: jwt.Issuer) -> rsa.RSAPublicKey:
    (key,) = json.loads(issuer.jwks())["keys"]
    assert (key["kty"], key["alg"], key["kid"]) == ("RSA", "RS256", issuer.key_id)
    assert "d" not in key
    e, n = (int.from_bytes(unpacked(key[name]), "big") for name in ("e", "n"))
    return rsa.RSAPublicNumbers(e, n).public_key()


def verify(token: str, key: rsa.RSAPublicKey) -> None:
    signed, _, signature = token.rpartition(".")
    key.verify(unpacked(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_the_published_key_verifies_a_token_and_no_other_key_does() -> None:
    token = ISSUER.sign({"sub": "till", "aud": "ledger"})
    verify(token, published(ISSUER))
    with pytest.raises(InvalidSignature):
        verify(token, published(jwt.issuer("https://issuer.example")))
    header, claims = (json.loads(unpacked(part)) for part in token.split(".")[:2])
    assert header == {"alg": "RS256", "kid": "k7", "typ": "JWT"}
    assert claims == {"iss": "https://issuer.example", "sub": "till", "aud": "ledger"}


@pytest.mark.parametrize(("seconds", "claims"), [(300, (1000, 1300)), (-300, (640, 700))])
def test_a_token_never_ends_before_it_begins(seconds: float, claims: tuple[int, int]) -> None:
    assert tuple(jwt.lifetime(1000.5, seconds).values()) == claims


def test_the_key_is_not_in_the_repr() -> None:
    shown = repr(jwt.issuer("x"))
    assert "key-1" in shown
    assert "RSA" not in shown
    assert jwt.bearer("a.b.c") == {"authorization": "Bearer a.b.c"}
    assert jwt.bearer("") == {}
