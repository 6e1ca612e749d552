"""The cluster's certificates: a CA of its own, the API server's certificate, and those of its two users.

ECDSA P-256 throughout.  Keys are written 0600 into a 0700 folder; they leave the home only inside a
kubeconfig.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

CA_DAYS, LEAF_DAYS = 3650, 365
RENEW_WITHIN_S = 30 * 86400
ADMIN = ("kubernetes-admin", "system:masters")
READER = ("meshlib-reader", "meshlib:read-only")
OTHER_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "encipher_only",
    "decipher_only",
)
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True)
class Pki:
    """Paths of PEM files below `<home>/pki`; `<name>.key` belongs to `<name>.crt`, `sa.key` signs tokens."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"


def prepare(folder: Path, addresses: tuple[str, ...]) -> Pki:
    """Make what is missing, belongs to other `addresses` of the API server, or ends within 30 days."""
    pki = Pki(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    stamp = folder / "made-for"
    wanted = "\n".join(addresses)
    needed = [pki.ca, pki.key("ca"), pki.key("sa"), stamp]
    for name in ("apiserver", "admin", "reader"):
        needed += [pki.certificate(name), pki.key(name)]
    if all(path.exists() for path in needed):
        made_for, _, ends_at_s = stamp.read_text().rpartition("\n")
        if made_for == wanted and float(ends_at_s) - RENEW_WITHIN_S > _now().timestamp():
            return pki
    _issue_all(pki, addresses)
    write_private(stamp, f"{wanted}\n{(_now() + datetime.timedelta(days=LEAF_DAYS)).timestamp()}".encode())
    return pki


def _issue_all(pki: Pki, addresses: tuple[str, ...]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str, organization: str | None = None) -> x509.Name:
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        if organization:
            parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        return x509.Name(parts)

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def store(file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        write_private(pki.key(file), pem(key))
        write_private(pki.certificate(file), certificate.public_bytes(serialization.Encoding.PEM))

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - datetime.timedelta(minutes=5))
            .not_valid_after(_now() + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def leaf(
        file: str, subject: x509.Name, usage: x509.ObjectIdentifier, names: list[x509.GeneralName]
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            builder(subject, key, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        store(file, key, made.sign(ca_key, hashes.SHA256()))

    ca_name = name("meshlib-lab-ca")
    if pki.ca.exists() and pki.key("ca").exists():
        loaded = serialization.load_pem_private_key(pki.key("ca").read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{pki.key('ca')} is not an EC key")
        ca_key = loaded
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        usage = dict.fromkeys(OTHER_USES, False)
        ca = (
            builder(ca_name, ca_key, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        store("ca", ca_key, ca)
    names: list[x509.GeneralName] = [x509.DNSName(each) for each in SERVER_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    leaf("apiserver", name("kube-apiserver"), ExtendedKeyUsageOID.SERVER_AUTH, names)
    leaf("admin", name(*ADMIN), ExtendedKeyUsageOID.CLIENT_AUTH, [])
    leaf("reader", name(*READER), ExtendedKeyUsageOID.CLIENT_AUTH, [])
    if not pki.key("sa").exists():
        write_private(pki.key("sa"), pem(ec.generate_private_key(ec.SECP256R1())))


def kubeconfig(server: str, pki: Pki, user: str) -> str:
    """A kubeconfig (YAML text) with the certificate of `user` ("admin" or "reader") embedded."""

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    login = (
        f"    client-certificate-data: {data(pki.certificate(user))}\n"
        f"    client-key-data: {data(pki.key(user))}\n"
    )
    return _kubeconfig(server, data(pki.ca), f"meshlib-{user}", login)


def token_kubeconfig(server: str, ca_pem: bytes, token_file: Path, namespace: str) -> str:
    """A kubeconfig for a pod: its ServiceAccount's token is read from `token_file` at each use."""
    login = f"    tokenFile: {token_file}\n"
    return _kubeconfig(server, base64.b64encode(ca_pem).decode(), "serviceaccount", login, namespace)


def _kubeconfig(server: str, ca_data: str, user: str, login: str, namespace: str = "default") -> str:
    cluster = f"    server: {server}\n    certificate-authority-data: {ca_data}\n"
    context = f"    cluster: meshlib-lab\n    user: {user}\n    namespace: {namespace}\n"
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: meshlib-lab\n"
        f"clusters:\n- name: meshlib-lab\n  cluster:\n{cluster}"
        f"contexts:\n- name: meshlib-lab\n  context:\n{context}"
        f"users:\n- name: {user}\n  user:\n{login}"
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` with mode 0600, never readable by others in between, in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.rename(path)
