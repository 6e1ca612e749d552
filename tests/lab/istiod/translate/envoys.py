"""Real Envoy for tests: does it accept a configuration, and how does it answer."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

import envoy
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlib.lab.istiod.delivery import Delivery, Wanted
from meshlib.lab.istiod.translate import Paths, Resources, SecretReference

Obj = dict[str, Any]
BINARY = Path(envoy.__file__).parent / "_bin" / "envoy"


USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Authority:
    """A CA whose certificates are made in memory."""

    def __init__(self, name: str = "test CA") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), [], ca=True)

    def _sign(
        self, subject: x509.Name, key: Any, names: list[x509.GeneralName], *, ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if ca:
            signs = dict.fromkeys(USES, False) | {"key_cert_sign": True, "crl_sign": True}
            builder = builder.add_extension(x509.KeyUsage(**signs), critical=True)
        if names:
            nameless = not len(list(subject))  # then RFC 5280 wants the names to be critical
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=nameless)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, *names: str) -> tuple[str, str]:
        """A certificate chain and its key in PEM, for DNS names or `spiffe://` identities."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names
        ]
        leaf = self._sign(x509.Name([]), key.public_key(), alternative, ca=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return leaf.public_bytes(serialization.Encoding.PEM).decode(), private.decode()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def secret(name: str, reference: SecretReference, authority: Authority, *names: str) -> Obj:
    """What stands behind an SDS name, made by a test's CA."""
    is_ca = reference.kind in ("root", "ca", "system") or (
        reference.kind == "files" and "~" not in reference.name
    )
    if is_ca:
        return {"name": name, "validation_context": {"trusted_ca": {"inline_string": authority.pem}}}
    chain, key = authority.issue(*(names or ("test.example",)))
    pair = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    return {"name": name, "tls_certificate": pair}


def wanted(resources: Resources, secrets: dict[str, Obj]) -> Wanted:
    """The resources of a proxy, as they are delivered."""
    return Wanted(
        lds=resources.listeners,
        cds=resources.clusters,
        rds=resources.routes,
        eds=resources.endpoints,
        sds=dict(secrets),
    )


def static_bootstrap(resources: Resources) -> Obj:
    """A bootstrap that holds everything itself, so that `--mode validate` looks at all of it."""
    listeners = json.loads(json.dumps(list(resources.listeners.values())))
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for item in chain["filters"]:
                config = item["typed_config"]
                if "rds" in config:
                    config["route_config"] = resources.routes[config.pop("rds")["route_config_name"]]
    clusters = []
    for cluster in json.loads(json.dumps(list(resources.clusters.values()))):
        if cluster.pop("eds_cluster_config", None):
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = resources.endpoints[cluster["name"]]
        clusters.append(cluster)
    return {
        "node": {"id": "router~127.9.1.1~gateway.ns~ns.svc.cluster.local", "cluster": "gateway.ns"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def validate(resources: Resources, paths: Paths, folder: Path, authority: Authority) -> None:
    """Asks real Envoy whether it takes the configuration; AssertionError with its words if not."""
    secrets = {name: secret(name, reference, authority) for name, reference in resources.secrets.items()}
    Delivery(Path(paths.root)).push(wanted(resources, secrets), "1")
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(static_bootstrap(resources)))
    done = subprocess.run(
        [str(BINARY), "--mode", "validate", "-c", str(file), "-l", "error"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
