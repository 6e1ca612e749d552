"""From a connection's certificate or a bearer token to an identity."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers

from .errors import bad_request, unauthorized
from .identity import ANONYMOUS, AUTHENTICATED, NOBODY, Identity
from .rbac import ACCOUNT_PREFIX, Attributes
from .tokens import TokenIssuer


def from_certificate(peer: Mapping[str, Any] | None) -> Identity | None:
    """The identity of a verified client certificate, as `SSLObject.getpeercert` gives it: CN and O."""
    if not peer:
        return None
    parts = [pair for rdn in peer.get("subject", ()) for pair in rdn]
    name = next((value for key, value in parts if key == "commonName"), "")
    groups = tuple(value for key, value in parts if key == "organizationName")
    return Identity(name, (*groups, AUTHENTICATED)) if name else None


def impersonated(headers: Headers) -> Identity | None:
    """Who the Impersonate-… headers say; None without them.  Raises StatusError 400."""
    groups = tuple(headers.getlist("impersonate-group"))
    uid, prefix = headers.get("impersonate-uid", ""), "impersonate-extra-"
    extra: dict[str, list[str]] = {}
    for key in headers:
        if key.startswith(prefix):
            extra[unquote(key.removeprefix(prefix))] = headers.getlist(key)
    name = headers.get("impersonate-user", "")
    if not name:
        if groups or uid or extra:
            text = "requested impersonation of groups, uids or extra values without impersonating a user"
            raise bad_request(text)
        return None
    if not groups and name.startswith(ACCOUNT_PREFIX):
        groups = _groups_of_account(Identity(name))
    if name != ANONYMOUS and AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return Identity(name, groups, uid, extra)


def impersonation_rights(who: Identity) -> Iterator[Attributes]:
    """What somebody must be allowed to act as `who`."""
    if who.name.startswith(ACCOUNT_PREFIX):
        namespace, _, name = who.name.removeprefix(ACCOUNT_PREFIX).partition(":")
        yield Attributes("impersonate", resource="serviceaccounts", namespace=namespace, name=name)
    else:
        yield Attributes("impersonate", resource="users", name=who.name)
    implied = (AUTHENTICATED, *_groups_of_account(who))
    for group in who.groups:
        if group not in implied:
            yield Attributes("impersonate", resource="groups", name=group)
    group = "authentication.k8s.io"
    if who.uid:
        yield Attributes("impersonate", group, "uids", name=who.uid)
    for key, values in who.extra.items():
        for value in values:
            yield Attributes("impersonate", group, "userextras", key, name=value)


def _groups_of_account(who: Identity) -> tuple[str, ...]:
    """The groups that a ServiceAccount is in by itself, () for any other user."""
    if not who.name.startswith(ACCOUNT_PREFIX):
        return ()
    namespace = who.name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


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
