"""Certificates and kubeconfigs of a lab."""

from __future__ import annotations

import stat
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from meshlib.lab import pki

ADDRESSES = ("127.0.0.1", "127.7.128.1")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_private_and_certificates_fit_their_purpose(tmp_path: Path) -> None:
    made = pki.prepare(tmp_path / "pki", ADDRESSES)
    assert mode(made.folder) == 0o700
    assert {mode(path) for path in made.folder.glob("*.key")} == {0o600}
    server = x509.load_pem_x509_certificate(made.certificate("apiserver").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == set(ADDRESSES)
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    admin = x509.load_pem_x509_certificate(made.certificate("admin").read_bytes())
    assert admin.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:masters"
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    admin.verify_directly_issued_by(ca)
    server.verify_directly_issued_by(ca)


def test_the_same_lab_keeps_its_certificates_and_another_address_renews_them(tmp_path: Path) -> None:
    made = pki.prepare(tmp_path / "pki", ADDRESSES)
    first, ca = made.certificate("apiserver").read_bytes(), made.ca.read_bytes()
    pki.prepare(tmp_path / "pki", ADDRESSES)
    assert made.certificate("apiserver").read_bytes() == first
    pki.prepare(tmp_path / "pki", ("127.0.0.1", "127.8.128.1"))
    assert made.certificate("apiserver").read_bytes() != first
    assert made.ca.read_bytes() == ca  # kubeconfigs that exist stay true


def test_a_kubeconfig_holds_the_credential_of_one_user(tmp_path: Path) -> None:
    made = pki.prepare(tmp_path / "pki", ADDRESSES)
    config = yaml.safe_load(pki.kubeconfig("https://127.0.0.1:6443", made, "reader"))
    assert config["current-context"] == "meshlib-lab"
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
