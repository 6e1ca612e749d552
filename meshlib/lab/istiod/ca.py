"""The mesh's certificate authority: its Secret, workload certificates with SPIFFE names, istiod's own.

The Secret is `istio-ca-secret` (type istio.io/ca-root) with Istio's five keys; a CA of the user's own in the
Secret `cacerts` is taken instead, as istiod does (security/pkg/pki/ca).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlib.errors import LabError

Obj = dict[str, Any]

SECRET, PLUGGED_IN, SECRET_TYPE = "istio-ca-secret", "cacerts", "istio.io/ca-root"
ROOT_DAYS = 3650
LEAF_HOURS = 24
BACKDATE = timedelta(minutes=2)
"""Certificates start in the past by this much, so that clocks may differ (Istio: workloadCertGracePeriod)."""


@dataclass(frozen=True)
class Issued:
    """A leaf certificate with its chain, its key, and when to replace it (half of its life)."""

    chain_pem: str
    key_pem: str = field(repr=False)
    renew_at: datetime
    serial: int

    def due(self, *, now: datetime | None = None) -> bool:
        """Whether it is time to replace it."""
        return self.renew_at <= (now or datetime.now(UTC))


class Authority:
    """Signs for the mesh; made new or read from the Secret."""

    def __init__(self, certificate_pem: str, key_pem: str, root_pem: str, chain_pem: str = "") -> None:
        """Raises LabError when the key does not belong to the certificate or one of them cannot be read."""
        try:
            self.certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
            key = load_pem_private_key(key_pem.encode(), None)
        except (ValueError, TypeError) as error:
            raise LabError(f"the CA of the mesh cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise LabError(f"the CA's key is a {type(key).__name__}; RSA or ECDSA is needed")
        if key.public_key() != self.certificate.public_key():
            raise LabError("the CA's key does not belong to its certificate")
        self._key = key
        self._certificate_pem, self._key_pem = certificate_pem, key_pem
        self.root_pem = root_pem
        self._intermediates = chain_pem or (
            "" if certificate_pem.strip() == root_pem.strip() else certificate_pem
        )

    @classmethod
    def create(cls, trust_domain: str = "cluster.local", *, now: datetime | None = None) -> Authority:
        """A new self-signed root for ten years."""
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + timedelta(days=ROOT_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return cls(pem, _key_pem(key), pem)

    @classmethod
    def from_secret(cls, secret: Obj) -> Authority:
        """The CA in `istio-ca-secret` or `cacerts`; raises LabError when a key is missing or wrong."""
        texts = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        missing = [key for key in ("ca-cert.pem", "ca-key.pem") if not texts.get(key)]
        if missing:
            meta = secret["metadata"]
            raise LabError(f"Secret {meta['namespace']}/{meta['name']} lacks {' and '.join(missing)}")
        return cls(
            texts["ca-cert.pem"],
            texts["ca-key.pem"],
            texts.get("root-cert.pem") or texts["ca-cert.pem"],
            texts.get("cert-chain.pem", ""),
        )

    def to_secret(self, namespace: str) -> Obj:
        """The Secret as istiod makes it; for a self-signed CA only two of the five keys hold anything."""
        texts = {
            "ca-cert.pem": self._certificate_pem,
            "ca-key.pem": self._key_pem,
            "cert-chain.pem": "",
            "key.pem": "",
            "root-cert.pem": "",
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": SECRET_TYPE,
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()},
        }

    def workload(
        self, trust_domain: str, namespace: str, account: str, *, now: datetime | None = None
    ) -> Issued:
        """A certificate for 24 hours whose only name is `spiffe://<trust domain>/ns/<ns>/sa/<account>`."""
        uri = f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"
        return self._issue([x509.UniformResourceIdentifier(uri)], now or datetime.now(UTC))

    def server(self, names: Sequence[str], *, now: datetime | None = None) -> Issued:
        """A certificate for 24 hours for DNS names: what istiod's webhooks present."""
        return self._issue([x509.DNSName(name) for name in names], now or datetime.now(UTC))

    def _issue(self, names: Sequence[x509.GeneralName], now: datetime) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        life = timedelta(hours=LEAF_HOURS)
        serial = x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + life, self.certificate.not_valid_after_utc))
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            # The subject is empty, so the name extension is critical (RFC 5280, 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM).decode() + self._intermediates
        return Issued(chain, _key_pem(key), now + life / 2, serial)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
