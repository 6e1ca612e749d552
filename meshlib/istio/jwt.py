"""Pure: JSON Web Tokens signed with a key that exists only in memory (RS256, RFC 7515 and 7519).

For trying a RequestAuthentication without an identity provider; the public half goes into its `jwks`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

BITS = 2048


@dataclass(frozen=True)
class Issuer:
    """Who signs: `name` is the claim `iss`; the key never shows in a repr."""

    name: str
    key_id: str
    key: rsa.RSAPrivateKey = field(repr=False)

    def jwks(self) -> str:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": _b64(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": _b64(numbers.e.to_bytes(3, "big")),
        }
        return json.dumps({"keys": [key]})

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims, `iss` first."""
        header = {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}
        parts = [_b64(json.dumps(part).encode()) for part in (header, {"iss": self.name, **claims})]
        signed = ".".join(parts)
        return f"{signed}.{_b64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def issuer(name: str, key_id: str = "key-1") -> Issuer:
    """An issuer with a new key of 2048 bits."""
    return Issuer(name, key_id, rsa.generate_private_key(public_exponent=65537, key_size=BITS))


def lifetime(now_s: float, seconds: float) -> dict[str, int]:
    """The claims `iat` and `exp`: issued at `now_s` for so long; a negative length makes an expired token."""
    end = int(now_s + seconds)
    return {"iat": min(int(now_s), end - 60), "exp": end}


def bearer(token: str) -> dict[str, str]:
    """The request header that carries a token; none for no token."""
    return {} if not token else {"authorization": f"Bearer {token}"}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
