"""Pure: the Secrets that Gateways name, turned into what Envoy's SDS takes, or into the reason why not.

Accepted keys and the order in which they are tried: Istio 1.19, pilot/pkg/credentials/kube/secrets.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshlib.errors import LabError

Obj = Mapping[str, Any]

PAIRS = (("cert", "key"), ("tls.crt", "tls.key"))
ROOTS = ("cacert", "ca.crt")


class Unusable(LabError):
    """A Secret that cannot be pushed; the text says which and why, without any of its content."""


def certificate(name: str, secret: Obj | None) -> dict[str, Any]:
    """The `tls_certificate` of the SDS resource `name`.  Raises Unusable when there is no good pair."""
    data = _decoded(secret)
    where = _where(secret)
    for cert_key, key_key in PAIRS:
        if data.get(cert_key) and data.get(key_key):
            _check_pair(data[cert_key], data[key_key], where)
            return {
                "name": name,
                "tls_certificate": {
                    "certificate_chain": {"inline_string": data[cert_key].decode()},
                    "private_key": {"inline_string": data[key_key].decode()},
                },
            }
    raise Unusable(f"{where} holds no pair: tls.crt and tls.key, or cert and key; found {_found(data)}")


def authority(name: str, of_credential: Obj | None, own: Obj | None) -> dict[str, Any]:
    """The `validation_context` of the SDS resource `name`.

    `own` is the Secret `<credential>-cacert`; only where there is none is `of_credential`, the one with the
    pair, looked at.  Raises Unusable when there is no CA certificate.
    """
    secret = own or of_credential
    data = _decoded(secret)
    for key in ROOTS:
        if data.get(key):
            _check_certificate(data[key], _where(secret))
            return {"name": name, "validation_context": {"trusted_ca": {"inline_string": data[key].decode()}}}
    raise Unusable(f"{_where(secret)} holds no CA: cacert or ca.crt is needed; found {_found(data)}")


def _found(data: Mapping[str, bytes]) -> str:
    return ", ".join(sorted(data)) or "nothing"


def _where(secret: Obj | None) -> str:
    if secret is None:
        return "a Secret that is not there"
    return f"Secret {secret['metadata']['namespace']}/{secret['metadata']['name']}"


def _decoded(secret: Obj | None) -> dict[str, bytes]:
    if secret is None:
        return {}
    try:
        return {k: base64.b64decode(v, validate=True) for k, v in (secret.get("data") or {}).items()}
    except (binascii.Error, ValueError) as error:
        raise Unusable(f"{_where(secret)} is not base64: {error}") from error


def _check_certificate(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Unusable(f"{where}: the certificate cannot be parsed: {error}") from error


def _check_pair(cert_pem: bytes, key_pem: bytes, where: str) -> None:
    leaf = _check_certificate(cert_pem, where)[0]
    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError) as error:
        raise Unusable(f"{where}: the private key cannot be parsed") from error
    if key.public_key() != leaf.public_key():
        raise Unusable(f"{where}: the private key does not belong to the certificate")
