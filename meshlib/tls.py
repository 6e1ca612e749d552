"""Certificates: make a small private CA and leaves, and say precisely why a certificate does or does not
serve a name.

Names are matched by RFC 9525: only subjectAltName counts, a wildcard stands for exactly one leftmost label.
"""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_LEAF_DAYS = 398  # the longest that browsers accept from a public CA at the time of writing


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM text; the key never shows in a repr."""

    certificate: str
    key: str = field(repr=False)

    def __repr__(self) -> str:
        return f"Pair(certificate sha256={fingerprint(self.certificate)[:23]}…, key not shown)"


def authority(name: str, days: int) -> Pair:
    """A private CA: CA:TRUE, path length 0, may sign certificates and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _start(subject, subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=True), critical=True)
    return _finish(builder, key, key)


def leaf(issuer: Pair, hosts: Sequence[str], days: float, *, age_days: float = 0.0) -> Pair:
    """A server certificate for `hosts` (DNS names, wildcards allowed), signed by `issuer`.

    It ends in `days` from now and began `age_days` ago; negative `days` make one that has expired.
    """
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    return _signed(issuer, hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, days, age_days)


def client(issuer: Pair, name: str, days: float) -> Pair:
    """A client certificate for `name`, signed by `issuer`."""
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    return _signed(issuer, name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days, 0.0)


def _signed(
    issuer: Pair,
    subject_name: str,
    names: x509.SubjectAlternativeName,
    purpose: x509.ObjectIdentifier,
    days: float,
    age_days: float,
) -> Pair:
    ca = x509.load_pem_x509_certificate(issuer.certificate.encode())
    ca_key = serialization.load_pem_private_key(issuer.key.encode(), password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the issuer's key is not an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject_name)])
    builder = _start(subject, ca.subject, key.public_key(), days, age_days)
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return _finish(builder, key, ca_key)


def common_name_only(common_name: str, days: int, *, organization: str = "") -> Pair:
    """A self-signed certificate with a common name and no subjectAltName: what `openssl req -x509 -subj`
    makes."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _start(subject, subject, key.public_key(), days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return _finish(builder, key, key)


def _start(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: float,
    age_days: float = 0.0,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(
            now - datetime.timedelta(days=age_days, minutes=5)
        )  # clocks of clients differ a little
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _finish(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    made = builder.sign(signer, hashes.SHA256())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode(), text.decode())


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def fingerprint(pem: str) -> str:
    """SHA-256 over the DER form, as `openssl x509 -fingerprint -sha256` prints it."""
    digest = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex().upper()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def names(pem: str) -> list[str]:
    """The DNS names in subjectAltName; empty when the extension is missing."""
    try:
        found = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.DNSName)


def days_left(pem: str) -> float:
    """Days until the certificate ends; negative once it has."""
    end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    return (end - datetime.datetime.now(datetime.UTC)).total_seconds() / 86400


def facts(pem: str) -> dict[str, str]:
    """The parts of a certificate that decide whether it is accepted, as texts."""
    cert = x509.load_pem_x509_certificate(pem.encode())
    return {
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "subjectAltName": ", ".join(names(pem)) or "missing",
        "not before": cert.not_valid_before_utc.isoformat(),
        "not after": cert.not_valid_after_utc.isoformat(),
        "days left": f"{days_left(pem):.1f}",
        "signed by": "itself" if cert.issuer == cert.subject else "the issuer",
        "sha256": fingerprint(pem),
    }


def describe(pem: str) -> pd.DataFrame:
    """`facts` as a table (Field, Value)."""
    return pd.DataFrame(facts(pem).items(), columns=["Field", "Value"])


def covers(pem: str, host: str) -> bool:
    """Whether one of the certificate's DNS names stands for `host` (RFC 9525, section 6.3)."""
    return any(_matches(pattern.lower(), host.lower()) for pattern in names(pem))


def _matches(pattern: str, host: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == host
    label, _, rest = host.partition(".")
    return bool(label) and rest == pattern[2:]


def refusal(server: Pair, host: str, trust: str) -> str:
    """What a verifying client says to a server that shows `server`'s certificate; "" when it accepts.

    A real OpenSSL handshake over memory: SNI and name check for `host`, only `trust` (PEM) as root, and no
    fall-back to the common name: as browsers, Go and urllib3 2 do it.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(server_context, server)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(cadata=trust)
    client_context.hostname_checks_common_name = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=host)
    peer = server_context.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(4):
            for side in (client, peer):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return ""


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """Load a pair into a context; the file that `ssl` insists on is private and gone at once."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # made with mode 0600
        file.write(pair.key + pair.certificate)
        file.flush()
        context.load_cert_chain(file.name)
