"""From a connection's certificate or a bearer token to an identity."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from .errors import unauthorized
from .identity import AUTHENTICATED, NOBODY, Identity
from .tokens import TokenIssuer


def from_certificate(peer: Mapping[str, Any] | None) -> Identity | None:
    """The identity of a verified client certificate, as `SSLObject.getpeercert` gives it: CN and O."""
    if not peer:
        return None
    parts = [pair for rdn in peer.get("subject", ()) for pair in rdn]
    name = next((value for key, value in parts if key == "commonName"), "")
    groups = tuple(value for key, value in parts if key == "organizationName")
    return Identity(name, (*groups, AUTHENTICATED)) if name else None


class Authenticator:
    """Knows the tokens of ServiceAccounts and the static ones in `tokens`."""

    def __init__(self, issuer: TokenIssuer | None, tokens: Mapping[str, Identity]) -> None:
        self._issuer = issuer
        self._tokens = dict(tokens)

    def identify(self, peer: Identity | None, authorization: str) -> Identity:
        """A certificate goes first; without any credential it is nobody.  Raises StatusError 401."""
        if peer is not None:
            return peer
        if not authorization:
            return NOBODY
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and (found := self.of_token(token.strip())) is not None:
            return found
        raise unauthorized()

    def of_token(self, token: str, audiences: list[str] | None = None) -> Identity | None:
        """Whose token it is; None for nobody's."""
        for known, identity in self._tokens.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return identity
        return self._issuer.check(token, audiences) if self._issuer else None
