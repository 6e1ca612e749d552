"""TLS contexts: what gateways present, what sidecars demand, and what clients of the mesh offer.

Source: istio-facts C4, C5; istio/istio pilot/pkg/networking/core/listener.go, cluster_tls.go,
pilot/pkg/security.
Certificates come over file SDS; the names are istiod's (`default`, `ROOTCA`,
`kubernetes://<credentialName>`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlib.lab.istiod.translate.model import Obj, SecretReference, present, typed
from meshlib.lab.istiod.translate.names import Paths

DEFAULT = "default"
ROOT = "ROOTCA"
CIPHERS = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
]
MTLS_HTTP_ALPN = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
MTLS_TCP_ALPN = ["istio-peer-exchange", "istio"]
ALL_MTLS_ALPN = ["istio", "istio-peer-exchange", *MTLS_HTTP_ALPN]
_PROTOCOLS = {"TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}


#: What istiod lets through of a Gateway's cipher suites: Envoy takes no listener with an unknown one.
_KNOWN = frozenset(
    [
        *CIPHERS,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    ]
)


def _least(settings: Mapping[str, Any]) -> str | None:
    """The mesh's least version: 1.2 or 1.3, None where it says nothing."""
    named = settings.get("minProtocolVersion", "TLS_AUTO")
    return None if named == "TLS_AUTO" else "TLSv1_3" if named == "TLSV1_3" else "TLSv1_2"


class Secrets:
    """Collects the SDS names that a proxy needs while its resources are built."""

    def __init__(self, paths: Paths, namespace: str) -> None:
        self.paths = paths
        self.namespace = namespace
        self.wanted: dict[str, SecretReference] = {}

    def sds(self, name: str, reference: SecretReference) -> Obj:
        """An `SdsSecretConfig` for a name, which is remembered as wanted."""
        self.wanted[name] = reference
        return {"name": name, "sds_config": self.paths.secret(name)}

    def workload(self) -> Obj:
        return self.sds(DEFAULT, SecretReference("workload"))

    def root(self) -> Obj:
        return self.sds(ROOT, SecretReference("root"))

    def certificate(self, credential: str) -> Obj:
        return self.sds(
            f"kubernetes://{credential}", SecretReference("certificate", self.namespace, credential)
        )

    def ca(self, credential: str) -> Obj:
        name = f"{credential}-cacert"
        return self.sds(f"kubernetes://{name}", SecretReference("ca", self.namespace, credential))

    def named_ca(self, credential: str) -> Obj:
        """A CA that a Gateway names apart from its certificate."""
        return self.sds(f"kubernetes://{credential}", SecretReference("ca", self.namespace, credential))

    def system(self) -> Obj:
        """The authorities that the machine trusts."""
        return self.sds("file-root:system", SecretReference("system"))

    def files(self, *paths: str) -> Obj:
        """A certificate from files in the pod, or with one path a CA."""
        kind = "file-root" if len(paths) == 1 else "file-cert"
        name = f"{kind}:{'~'.join(paths)}"
        return self.sds(name, SecretReference("files", self.namespace, name))


def downstream(context: Obj) -> Obj:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", **context),
    }


def upstream(context: Obj) -> Obj:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", **context),
    }


def _combined(root: Obj, names: list[str], **also: Any) -> Obj:
    context = present(match_subject_alt_names=[{"exact": name} for name in names] or None, **also)
    return {
        "combined_validation_context": {
            "default_validation_context": context,
            "validation_context_sds_secret_config": root,
        }
    }


def server(settings: Mapping[str, Any], secrets: Secrets, defaults: Mapping[str, Any], *, tcp: bool) -> Obj:
    """The context of a Gateway server that ends TLS; `tcp` where what comes out is not HTTP.

    defaults: `tlsDefaults` of the mesh
    """
    mode = settings.get("mode", "PASSTHROUGH")
    mutual = mode in ("MUTUAL", "ISTIO_MUTUAL")
    validates = mutual or mode == "OPTIONAL_MUTUAL"
    names = settings.get("subjectAltNames") or []
    alpn = ["istio-peer-exchange", "h2", "http/1.1"] if tcp and mode == "ISTIO_MUTUAL" else ["h2", "http/1.1"]
    common: Obj = {"alpn_protocols": alpn}
    if mode == "ISTIO_MUTUAL":
        common["tls_certificate_sds_secret_configs"] = [secrets.workload()]
        common |= _combined(secrets.root(), names)
    elif settings.get("credentialName") or settings.get("credentialNames"):
        common |= _credentials(settings, secrets, names, validates)
    else:
        chain, key = settings.get("serverCertificate", ""), settings.get("privateKey", "")
        common["tls_certificate_sds_secret_configs"] = [secrets.files(chain, key)]
        if validates:
            common |= _combined(secrets.files(settings.get("caCertificates", "")), names)
    if mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        chosen = [name for name in dict.fromkeys(settings.get("cipherSuites") or []) if name in _KNOWN]
        least = _PROTOCOLS.get(settings.get("minProtocolVersion", ""))
        parameters = present(
            tls_minimum_protocol_version=least or _least(defaults),
            tls_maximum_protocol_version=_PROTOCOLS.get(settings.get("maxProtocolVersion", "")),
            cipher_suites=chosen or defaults.get("cipherSuites") or None,
            ecdh_curves=defaults.get("ecdhCurves") or None,
        )
        if parameters:
            common["tls_params"] = parameters
    return downstream({"common_tls_context": common, "require_client_certificate": mutual})


def _credentials(settings: Mapping[str, Any], secrets: Secrets, names: list[str], validates: bool) -> Obj:
    credentials = settings.get("credentialNames") or [settings["credentialName"]]
    common: Obj = {"tls_certificate_sds_secret_configs": [secrets.certificate(name) for name in credentials]}
    if validates:
        also = present(
            verify_certificate_spki=settings.get("verifyCertificateSpki") or None,
            verify_certificate_hash=settings.get("verifyCertificateHash") or None,
        )
        ca = settings.get("caCertCredentialName")
        root = secrets.ca(credentials[0]) if not ca else secrets.named_ca(ca)
        return common | _combined(root, names, **also)
    if names:
        common["validation_context"] = {"match_subject_alt_names": [{"exact": name} for name in names]}
    return common


def inbound(
    secrets: Secrets, trust_domains: Sequence[str], settings: Mapping[str, Any], *, http: bool
) -> Obj:
    """What a sidecar demands of clients of the mesh: a certificate of the mesh's CA for a name in one of
    its trust domains.

    settings: `meshMTLS` of the mesh
    """
    combined = _combined(secrets.root(), [])
    context = combined["combined_validation_context"]["default_validation_context"]
    context["match_subject_alt_names"] = [{"prefix": f"spiffe://{name}/"} for name in trust_domains]
    alpn = ["h2", "http/1.1"] if http else ["istio-peer-exchange", "h2", "http/1.1"]
    return downstream(
        {
            "common_tls_context": {
                "alpn_protocols": alpn,
                "tls_params": {
                    "tls_minimum_protocol_version": _least(settings) or "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                    "cipher_suites": settings.get("cipherSuites") or CIPHERS,
                },
                "tls_certificate_sds_secret_configs": [secrets.workload()],
                **combined,
            },
            "require_client_certificate": True,
        }
    )


def mesh_client(secrets: Secrets, sni: str, accounts: list[str], *, http: bool, http2: bool) -> Obj:
    """What a client in the mesh offers to another workload (`ISTIO_MUTUAL`).

    The ALPN names tell the server which chain to take.  istiod overrides them for every request by a
    filter
    that stock Envoy lacks, so they are fixed here by the protocol of the port (istio-facts 0.6, C5).
    """
    if http2:
        alpn = ["istio-h2", "istio", "h2"]
    else:
        alpn = ["istio-http/1.1", "istio", "http/1.1"] if http else ["istio-peer-exchange", "istio"]
    return upstream(
        {
            "common_tls_context": {
                "alpn_protocols": alpn,
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "tls_certificate_sds_secret_configs": [secrets.workload()],
                **_combined(secrets.root(), accounts),
            },
            "sni": sni,
        }
    )


def origination(
    settings: Mapping[str, Any],
    secrets: Secrets,
    *,
    http2: bool,
    names: list[str],
    defaults: Mapping[str, Any],
) -> Obj | None:
    """The context for a DestinationRule's SIMPLE or MUTUAL; None where it may not be honoured here."""
    mutual = settings["mode"] == "MUTUAL"
    names = settings.get("subjectAltNames") or names
    common: Obj = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
    }
    common["tls_params"] |= present(
        cipher_suites=defaults.get("cipherSuites") or None, ecdh_curves=defaults.get("ecdhCurves") or None
    )
    if http2:
        common["alpn_protocols"] = ["h2"]
    unchecked = settings.get("insecureSkipVerify") is True
    if credential := settings.get("credentialName"):
        if mutual:
            common["tls_certificate_sds_secret_configs"] = [secrets.certificate(credential)]
        if not unchecked:
            common |= _combined(secrets.ca(credential), names)
    else:
        if mutual:
            pair = secrets.files(settings["clientCertificate"], settings["privateKey"])
            common["tls_certificate_sds_secret_configs"] = [pair]
        if not unchecked and settings.get("caCertificates"):
            common |= _combined(secrets.files(settings["caCertificates"]), names)
        elif not unchecked:
            common |= _combined(secrets.system(), names)
    if unchecked:
        common["validation_context"] = {}
    return upstream(present(common_tls_context=common, sni=settings.get("sni")))
