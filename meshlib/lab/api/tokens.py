"""Tokens of ServiceAccounts: JSON Web Tokens signed by the cluster, and what a bearer token stands for."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from .identity import AUTHENTICATED, Identity

AUDIENCE = "https://kubernetes.default.svc.cluster.local"
DEFAULT_LIFETIME_S = 3600
MIN_LIFETIME_S, MAX_LIFETIME_S = 600, 1 << 32
_SIZE = 32  # bytes of each half of an ES256 signature

Find = Callable[[str, str, str], dict[str, Any] | None]  # resource, namespace, name → object


class TokenIssuer:
    """Makes and checks tokens with one EC P-256 key; `find` looks objects up."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, find: Find) -> None:
        self._key = key
        self._find = find

    @classmethod
    def from_pem(cls, pem: bytes, find: Find) -> TokenIssuer:
        """Raises TypeError for a key that is none on P-256."""
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the key for ServiceAccount tokens is no EC key")
        return cls(key, find)

    def mint(
        self, namespace: str, account: str, audience: str = "", pod: Mapping[str, str] | None = None
    ) -> str:
        """A token of the ServiceAccount that ends with `pod` (name, uid), if one is given.

        No `audience` is the API server's own.  KeyError: no account.
        """
        return self.issue(namespace, account, [audience] if audience else [], pod=pod)[0]

    def issue(
        self,
        namespace: str,
        account: str,
        audiences: list[str],
        lifetime_s: int = DEFAULT_LIFETIME_S,
        pod: Mapping[str, str] | None = None,
    ) -> tuple[str, datetime]:
        """The token and when it ends; `pod` (name, uid) binds it to a pod.  KeyError without the account."""
        found = self._find("serviceaccounts", namespace, account)
        if found is None:
            raise KeyError(f"{namespace}/{account}")
        now = int(time.time())
        bound: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": found["metadata"]["uid"]},
        }
        if pod:
            bound["pod"] = dict(pod)
        claims = {
            "aud": audiences or [AUDIENCE],
            "exp": now + lifetime_s,
            "iat": now,
            "iss": AUDIENCE,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{account}",
        }
        signed = f"{_encode({'alg': 'ES256', 'typ': 'JWT'})}.{_encode(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")
        return f"{signed}.{_text(signature)}", datetime.fromtimestamp(now + lifetime_s, UTC)

    def check(self, token: str, audiences: list[str] | None = None) -> Identity | None:
        """Whose token it is, None for one that does not (or no longer) hold."""
        try:
            signed, _, signature = token.rpartition(".")
            raw = _bytes(signature)
            dss = encode_dss_signature(int.from_bytes(raw[:_SIZE], "big"), int.from_bytes(raw[_SIZE:], "big"))
            self._key.public_key().verify(dss, signed.encode(), ec.ECDSA(hashes.SHA256()))
            claims = msgspec.json.decode(_bytes(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            return None
        if not claims["nbf"] - 10 <= time.time() < claims["exp"]:
            return None
        if not set(claims["aud"]) & set(audiences or [AUDIENCE]):
            return None
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        found = self._find("serviceaccounts", namespace, account["name"])
        if found is None or found["metadata"]["uid"] != account["uid"]:
            return None
        extra: dict[str, list[str]] = {}
        if pod := bound.get("pod"):
            live = self._find("pods", namespace, pod["name"])
            if live is None or live["metadata"]["uid"] != pod["uid"]:
                return None
            extra = {
                "authentication.kubernetes.io/pod-name": [pod["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["uid"]],
            }
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return Identity(claims["sub"], groups, account["uid"], extra)


def _encode(value: Any) -> str:
    return _text(msgspec.json.encode(value))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
