"""Modes 4, 5 and 9: Gateways that are not programmed, certificates that are not served or are refused."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshlib import tls
from meshlib.istio.diagnose.model import (
    ERROR,
    WARNING,
    Credential,
    Finding,
    Obj,
    Snapshot,
    gateway_servers,
    name_of,
    space,
    words,
)

TERMINATING = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
MIN_RSA_BITS, MIN_EC_BITS = 2048, 256
PORT_CODE_MINOR = 20  # the analyzer that compares with the Service's ports came with IST0162
NEEDED = ({"tls.crt", "tls.key"}, {"cert", "key"})


def not_programmed(snapshot: Snapshot) -> Iterator[Finding]:
    """A selector without pods, a port that the Service lacks, a host or a port taken twice."""
    for gateway in snapshot.all("Gateway"):
        edit = f"kubectl edit gateway {gateway['metadata']['name']} -n {space(gateway)}"
        pods = snapshot.gateway_pods(gateway)
        if not pods:
            selector = words(gateway["spec"].get("selector") or {})
            yield Finding(
                9,
                ERROR,
                f"Gateway {name_of(gateway)} selects no pod",
                f"no running pod has the labels {selector}",
                "no proxy opens its ports or serves its hosts",
                edit,
                "IST0101",
            )
        else:
            yield from _ports(snapshot, gateway, pods, edit)
    yield from _taken(snapshot)
    yield from _shared_certificate(snapshot)


def _ports(snapshot: Snapshot, gateway: Obj, pods: list[Obj], edit: str) -> Iterator[Finding]:
    services = {name_of(each): each for pod in pods for each in snapshot.services_of(pod)}
    offered = {port["port"] for each in services.values() for port in each["spec"].get("ports") or []}
    minor = snapshot.istio_minor()
    for number in dict.fromkeys(port for port, _ in gateway_servers(gateway)):
        if services and number not in offered:
            yield Finding(
                9,
                ERROR,
                f"port {number} of Gateway {name_of(gateway)} is in no Service of its pods",
                f"Service {', '.join(services)} has the ports {', '.join(map(str, sorted(offered)))}",
                "the proxy may listen, but no client can reach the port",
                edit,
                "IST0104" if minor is not None and minor < PORT_CODE_MINOR else "IST0162",
            )


def _oldest_first(gateways: tuple[Obj, ...]) -> list[Obj]:
    return sorted(gateways, key=lambda each: (each["metadata"].get("creationTimestamp", ""), name_of(each)))


def _taken(snapshot: Snapshot) -> Iterator[Finding]:
    hosts: dict[tuple[str, int, str], Obj] = {}
    protocols: dict[tuple[str, int], tuple[bool, Obj]] = {}
    for gateway in _oldest_first(snapshot.all("Gateway")):
        place = words(dict(sorted((gateway["spec"].get("selector") or {}).items())))
        edit = f"kubectl edit gateway {gateway['metadata']['name']} -n {space(gateway)}"
        for number, server in gateway_servers(gateway):
            plain = server["port"]["protocol"].upper() in ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
            first = protocols.setdefault((place, number), (plain, gateway))
            if first[0] != plain:
                yield Finding(
                    9,
                    ERROR,
                    f"port {number} has plain HTTP and TLS at once",
                    f"Gateway {name_of(first[1])} and Gateway {name_of(gateway)}",
                    "one port speaks one of them; the server of the younger Gateway is skipped",
                    edit,
                )
                continue
            for host in server.get("hosts") or []:
                key = (place, number, host.rpartition("/")[2])
                older = hosts.setdefault(key, gateway)
                if older is not gateway:
                    yield Finding(
                        9,
                        ERROR,
                        f"two Gateways publish {key[2]} on port {number}",
                        f"Gateway {name_of(older)} is older than Gateway {name_of(gateway)}",
                        "the oldest wins; the routes and the certificate of the other are not used",
                        edit,
                        "IST0145",
                    )


def _shared_certificate(snapshot: Snapshot) -> Iterator[Finding]:
    users: dict[tuple[str, str], Obj] = {}
    for gateway in _oldest_first(snapshot.all("Gateway")):
        place = words(dict(sorted((gateway["spec"].get("selector") or {}).items())))
        for _, server in gateway_servers(gateway):
            name = (server.get("tls") or {}).get("credentialName")
            first = users.setdefault((place, name), gateway) if name else gateway
            if first is not gateway:
                yield Finding(
                    9,
                    WARNING,
                    f"two Gateways share the certificate {name}",
                    f"Gateway {name_of(first)} and Gateway {name_of(gateway)}",
                    "browsers reuse one HTTP/2 connection for both hosts, and the second host answers 404",
                    f"kubectl edit gateway {gateway['metadata']['name']} -n {space(gateway)}",
                    "IST0138",
                )


def refused_by_proxy(snapshot: Snapshot) -> Iterator[Finding]:
    """Configuration that a proxy was sent and did not take (what proxy-status shows as STALE)."""
    for entry in snapshot.syncz or ():
        proxy = entry.get("proxy", "?")
        name, _, namespace = proxy.partition(".")
        stale = [
            word
            for word in ("cluster", "listener", "route", "endpoint")
            if (sent := entry.get(f"{word}_sent")) and entry.get(f"{word}_acked") != sent
        ]
        if stale:
            yield Finding(
                9,
                ERROR,
                f"proxy {proxy} has not taken what istiod sent",
                f"STALE in proxy-status: {', '.join(stale)}; {'; '.join(entry.get('errors') or [])}".rstrip(
                    "; "
                ),
                "Envoy refused an update and goes on with the last one that it took",
                f"kubectl logs -n {namespace} {name} -c istio-proxy --tail=50",
            )


def credentials(snapshot: Snapshot) -> Iterator[tuple[Obj, Obj, str, Credential]]:
    """(Gateway, server, namespace of its pods, what is known) for each certificate that a Gateway names."""
    for gateway in snapshot.all("Gateway"):
        for namespace in dict.fromkeys(space(pod) for pod in snapshot.gateway_pods(gateway)):
            for _, server in gateway_servers(gateway):
                settings = server.get("tls") or {}
                known = snapshot.credentials.get((namespace, settings.get("credentialName", "")))
                if settings.get("mode") in TERMINATING and known is not None:
                    yield gateway, server, namespace, known


def not_served(snapshot: Snapshot) -> Iterator[Finding]:
    """A Secret that is missing, incomplete, or whose key does not belong to its certificate."""
    for gateway, server, namespace, known in credentials(snapshot):
        name = server["tls"]["credentialName"]
        used = f"Gateway {name_of(gateway)}, port {server['port']['number']}, credentialName {name}"
        make = f"kubectl create secret tls {name} -n {namespace} --cert=tls.crt --key=tls.key"
        reset = "without a certificate the gateway resets every TLS handshake on this host"
        if known.state == "missing":
            elsewhere = snapshot.credentials.get((space(gateway), name))
            also = (
                f"; there is one in {space(gateway)}, the Gateway's own namespace"
                if _there(elsewhere)
                else ""
            )
            yield Finding(
                4,
                ERROR,
                f"there is no Secret {namespace}/{name}",
                f"{used}; the gateway's pods run in {namespace}{also}",
                f"a certificate is looked for in the namespace of the gateway's pods; {reset}",
                make,
                "IST0101",
            )
        elif known.state == "denied":
            yield Finding(
                4,
                WARNING,
                f"Secret {namespace}/{name} could not be looked at",
                f"{used}: {known.reason}",
                "whether the certificate is there and fits is unknown",
                f"kubectl auth can-i get secrets -n {namespace}",
            )
        elif known.keys and not any(needed <= set(known.keys) for needed in NEEDED):
            evidence = f"{used}; its keys are {', '.join(known.keys)}"
            yield Finding(
                4, ERROR, f"Secret {namespace}/{name} lacks tls.crt or tls.key", evidence, reset, make
            )
        elif known.pair:
            replace = f"{make} --dry-run=client -o yaml | kubectl apply -f -"
            finding = f"Secret {namespace}/{name} holds no usable pair"
            yield Finding(4, ERROR, finding, f"{used}; {known.pair}", reset, replace, "IST0161")
        elif (
            server["tls"]["mode"] != "SIMPLE" and known.keys and not _has_ca(snapshot, namespace, name, known)
        ):
            evidence = f"{used}, mode {server['tls']['mode']}; neither ca.crt nor a Secret {name}-cacert"
            cause = "client certificates cannot be verified, so no listener is made"
            yield Finding(4, ERROR, f"Secret {namespace}/{name} has no CA for clients", evidence, cause, make)


def _there(known: Credential | None) -> bool:
    return known is not None and known.state in ("read", "foreign")


def _has_ca(snapshot: Snapshot, namespace: str, name: str, known: Credential) -> bool:
    return bool({"ca.crt", "cacert"} & set(known.keys)) or _there(
        snapshot.credentials.get((namespace, f"{name}-cacert"))
    )


def refused_by_clients(snapshot: Snapshot) -> Iterator[Finding]:
    """What is wrong with the certificate that is served: time, names, signer, key."""
    seen: set[tuple[str, str]] = set()
    for gateway, server, namespace, known in credentials(snapshot):
        name = server["tls"]["credentialName"]
        if not known.certificate or known.pair:
            continue
        hosts = [host.rpartition("/")[2] for host in server.get("hosts") or []]
        for level, finding, evidence, cause in certificate_faults(known.certificate, hosts, snapshot):
            if (name, finding) not in seen:
                seen.add((name, finding))
                where = f"Secret {namespace}/{name} of Gateway {name_of(gateway)}: {evidence}"
                issue = "issue a new one (notebook 03_certificate), then kubectl create secret tls"
                files = "--cert=tls.crt --key=tls.key --dry-run=client -o yaml | kubectl apply -f -"
                fix = f"{issue} {name} -n {namespace} {files}"
                yield Finding(5, level, finding, where, cause, fix)


def certificate_faults(pem: str, hosts: list[str], snapshot: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    """(level, finding, evidence, cause) for each fault of a certificate, as clients look at it."""
    try:
        cert = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        yield ERROR, "the certificate cannot be parsed", str(error), "it is no PEM certificate"
        return
    if snapshot.now > cert.not_valid_after_utc:
        ended = cert.not_valid_after_utc.isoformat()
        yield ERROR, "the certificate has expired", f"not after {ended}", "every client refuses it since then"
    elif snapshot.now < cert.not_valid_before_utc:
        begins = cert.not_valid_before_utc.isoformat()
        yield (
            ERROR,
            "the certificate is not valid yet",
            f"not before {begins}",
            "clients refuse it until then",
        )
    names = tls.names(pem)
    if not names:
        subject = f"subject {cert.subject.rfc4514_string()}, no subjectAltName"
        cause = "browsers, Go and Python read only subjectAltName, never the common name"
        yield ERROR, "the certificate has no subjectAltName", subject, cause
    elif missing := [host for host in hosts if host != "*" and not _covered(pem, names, host)]:
        cause = "a wildcard stands for exactly one label, so *.a.b covers neither a.b nor x.y.a.b"
        yield (
            ERROR,
            f"the certificate does not cover {', '.join(missing)}",
            f"its names: {', '.join(names)}",
            cause,
        )
    if cert.issuer == cert.subject and not _is_ca(cert):
        cause = "clients that trust the certificate itself as a root need CA:TRUE; others never trust it"
        yield ERROR, "the certificate is signed by itself and is no CA", "issuer equals subject", cause
    key = cert.public_key()
    low = MIN_RSA_BITS if isinstance(key, rsa.RSAPublicKey) else MIN_EC_BITS
    if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)) and key.key_size < low:
        yield (
            ERROR,
            "the certificate's key is too short",
            f"{key.key_size} bits",
            f"clients ask for {low} bits",
        )
    digest = cert.signature_hash_algorithm
    if digest is not None and digest.name in ("md5", "sha1"):
        yield (
            ERROR,
            "the certificate is signed with a broken hash",
            digest.name,
            "clients refuse the signature",
        )


def _covered(pem: str, names: list[str], host: str) -> bool:
    return host in names if host.startswith("*.") else tls.covers(pem, host)


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return bool(cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
