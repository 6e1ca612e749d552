"""Gateway: its servers, their ports and their TLS settings."""

from __future__ import annotations

from meshlib.lab.schema.model import Obj

from . import common
from .common import HTTP_PROTOCOLS, PROTOCOLS, TLS_PROTOCOLS, UNIX, quoted
from .judgement import Judgement

CIPHERS = frozenset(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    ]
)
_SUPPORTED = "HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP"
_CERTIFICATE_FIELDS = (
    ("serverCertificate", "server certificate"),
    ("privateKey", "private key"),
    ("caCertificates", "CA bundle"),
    ("tlsCertificates", "tlsCertificates"),
    ("credentialName", "credentialName"),
    ("credentialNames", "credentialNames"),
)


def judge(found: Judgement, name: str, spec: Obj) -> None:
    if not common.is_label(name):
        found.add(f"invalid gateway name: {quoted(name)}")
    servers = spec.get("servers") or []
    if not servers:
        found.add("gateway must have at least one server")
    for server in servers:
        _server(found, server)
    seen: set[str] = set()
    for server in servers:
        port = server.get("port")
        if port is None:
            continue
        label = port.get("name", "")
        if label in seen:
            found.add(f"port names in servers must be unique: duplicate name {label}")
        seen.add(label)
        redirects = (server.get("tls") or {}).get("httpsRedirect")
        if redirects and port.get("protocol", "").lower() not in HTTP_PROTOCOLS:
            found.warn("tls.httpsRedirect should only be used with http servers")


def _server(found: Judgement, server: Obj) -> None:
    if not server.get("hosts"):
        found.add("server config must contain at least one host")
    for host in server.get("hosts") or ():
        found.add(*common.slash_host(host, gateway=True))
    bind, tls = server.get("bind") or "", server.get("tls")
    before = len(found.errors)
    port = server.get("port")
    _port(found, port, bind)
    sound = len(found.errors) == before
    _bind(found, port, bind)
    if tls is not None:
        tls_options(found, tls)
    if not sound or port is None:
        return
    protocol = port.get("protocol", "").lower()
    if protocol in TLS_PROTOCOLS:
        if tls is None:
            found.add("server must have TLS settings for HTTPS/TLS protocols")
    elif tls is not None and protocol in HTTP_PROTOCOLS:
        through = tls.get("mode", "PASSTHROUGH") in ("PASSTHROUGH", "AUTO_PASSTHROUGH")
        if not through or any(tls.get(key) for key in ("caCertificates", "privateKey", "serverCertificate")):
            found.add("server cannot have TLS settings for plain text HTTP ports")
    elif tls is not None:
        found.add("server cannot have TLS settings for non HTTPS/TLS ports")


def _port(found: Judgement, port: Obj | None, bind: str) -> None:
    if port is None:
        found.add("port is required")
        return
    protocol = port.get("protocol", "")
    if protocol.lower() not in PROTOCOLS:
        found.add(f"invalid protocol {quoted(protocol)}, supported protocols are {_SUPPORTED}")
    number = port.get("number", 0)
    if number > 0 or not bind.startswith(UNIX):
        found.add(common.port(number))
    if port.get("targetPort", 0) > 0:
        found.add("targetPort has no impact on Gateways")
    if not port.get("name"):
        found.add(f"port name must be set: {_printed(port)}")


def _printed(port: Obj) -> str:
    """A port as Go prints the message: `number:80 protocol:"HTTP"`."""
    return " ".join(
        f"{key}:{quoted(port[key]) if isinstance(port[key], str) else port[key]}"
        for key in ("number", "protocol", "name", "targetPort")
        if port.get(key)
    )


def _bind(found: Judgement, port: Obj | None, bind: str) -> None:
    if bind.startswith(UNIX):
        found.add(unix_address(bind.removeprefix(UNIX)))
        if port is not None and port.get("number"):
            found.add(f"port number must be 0 for unix domain socket: {_printed(port)}")
    elif bind:
        found.add(common.ip_address(bind))


def unix_address(path: str) -> str | None:
    if not path:
        return "unix address must not be empty"
    if path.startswith("@") or (path.startswith("/") and not path.endswith("/")):
        return None
    return f"{path} is not an absolute path to a file"


def tls_options(found: Judgement, tls: Obj) -> None:
    mode = tls.get("mode", "PASSTHROUGH")
    _ciphers(found, tls)
    if mode == "ISTIO_MUTUAL":
        for field, text in _CERTIFICATE_FIELDS:
            if tls.get(field):
                found.add(f"ISTIO_MUTUAL TLS cannot have associated {text}")
        return
    if mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH") and any(
        tls.get(field) for field in ("caCrl", *(field for field, _ in _CERTIFICATE_FIELDS))
    ):
        found.warn(f"{mode} mode does not use certificates, they will be ignored")
    sources = [
        bool(tls.get("serverCertificate") and tls.get("privateKey")),
        bool(tls.get("credentialName")),
        bool(tls.get("credentialNames")),
        bool(tls.get("tlsCertificates")),
    ]
    if sum(sources) > 1:
        found.add(
            "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates "
            "should be specified"
        )
    if mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        if tls.get("credentialName") or tls.get("credentialNames"):
            return
        _certificates(found, tls, mode)
    if tls.get("caCrl"):
        if tls.get("credentialName"):
            found.add("CRL is not supported with credentialName. CRL has to be specified in the credential")
        if mode == "SIMPLE":
            found.add("CRL is not supported with SIMPLE TLS")


def _certificates(found: Judgement, tls: Obj, mode: str) -> None:
    label = "SIMPLE TLS" if mode == "SIMPLE" else "MUTUAL TLS"
    if mode != "SIMPLE" and not tls.get("caCertificates"):
        found.add(f"{label} requires a client CA bundle")
    for certificate in tls.get("tlsCertificates") or [tls]:
        if not certificate.get("serverCertificate"):
            found.add(f"{label} requires a server certificate")
        if not certificate.get("privateKey"):
            found.add(f"{label} requires a private key")


def _ciphers(found: Judgement, tls: Obj) -> None:
    suites = tls.get("cipherSuites") or []
    if tls.get("minProtocolVersion") in ("TLSV1_0", "TLSV1_1") and not suites:
        found.warn(
            "TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer "
            "include compatible ciphers."
        )
    known = [each for each in suites if each in ("", "ALL") or not each[0].isalnum() or each in CIPHERS]
    unknown = sorted({each for each in suites if each not in known})
    twice = sorted({each for each in known if known.count(each) > 1})
    if unknown:
        found.warn(f"ignoring invalid cipher suites: [{' '.join(unknown)}]")
    if twice:
        found.warn(f"ignoring duplicate cipher suites: [{' '.join(twice)}]")
