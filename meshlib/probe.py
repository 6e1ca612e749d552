"""One HTTPS request with all its evidence: what `curl -v` shows, as data.

The address can be given apart from the name, so nobody edits /etc/hosts.  Verification is always on: a
refused certificate is a result (`error`), never something to skip.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pycurl

from meshlib import tls

HTTP_VERSIONS = {pycurl.CURL_HTTP_VERSION_1_0: "1.0", pycurl.CURL_HTTP_VERSION_1_1: "1.1", 3: "2", 30: "3"}
TLS_MAX = {"1.2": pycurl.SSLVERSION_MAX_TLSv1_2, "1.3": pycurl.SSLVERSION_MAX_TLSv1_3}
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Evidence:
    """What one request showed.  `status` is 0 and `error` says why when no HTTP answer came; times are
    milliseconds."""

    url: str
    address: str
    status: int
    error: str
    error_code: int
    http_version: str
    tls_version: str
    cipher: str
    alpn: str
    certificate: str
    headers: Mapping[str, str]
    body: bytes
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float
    log: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def outcome(self) -> str:
        """The answer in a few words: the status, with the target of a redirect, or the error."""
        location = self.headers.get("location")
        return self.error or (f"{self.status} to {location}" if location else str(self.status))

    @property
    def days_left(self) -> float:
        """Days until the served certificate ends; nan when none was seen."""
        return tls.days_left(self.certificate) if self.certificate else float("nan")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the served certificate; empty when none was seen."""
        return tls.fingerprint(self.certificate) if self.certificate else ""

    def table(self) -> pd.DataFrame:
        """The evidence, one row a fact (Fact, Value), in the order in which `curl -v` prints it."""
        times = (self.connect_ms, self.tls_ms, self.first_byte_ms, self.total_ms)
        facts = {
            "address": self.address,
            "TLS": f"{self.tls_version} {self.cipher}".strip(),
            "ALPN": self.alpn,
        }
        if self.certificate:
            facts |= tls.facts(self.certificate)
        facts |= {
            "verified": f"no: {self.error}" if self.error else "yes" if self.certificate else "",
            "request": f"GET {self.url}",
            "answer": f"HTTP/{self.http_version} {self.status}" if self.status else "none",
            **{name: value for name, value in self.headers.items() if name != "date"},
            "body": repr(self.text[:80]) if self.body else "",
            "connect, TLS, first byte, total": ", ".join(f"{took:.1f}" for took in times) + " ms",
        }
        return pd.DataFrame([(k, v) for k, v in facts.items() if v], columns=["Fact", "Value"])


def fetch(
    url: str,
    *,
    address: str = "",
    method: str = "GET",
    cacert: Path | str | None = None,
    headers: Mapping[str, str] | None = None,
    follow: bool = False,
    timeout_s: float = 10.0,
    tls_max: str = "",
    ciphers: str = "",
    client: tls.Pair | None = None,
) -> Evidence:
    """GET `url` (or `method`, without a body), connecting to `address` instead of resolving its name.

    `cacert` is the only trusted root (a PEM file; without it the system's roots).  To play another client:
    `tls_max` is the newest version that it speaks (`1.2`), `ciphers` its list for TLS 1.2 in OpenSSL's names,
    `client` its own certificate.  Failures come back as
    evidence: `error` holds curl's own words, `error_code` its number (60: certificate refused).
    """
    body, received, log = io.BytesIO(), [], []
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    if method != "GET":
        curl.setopt(pycurl.CUSTOMREQUEST, method)
    curl.setopt(pycurl.USERAGENT, "meshlib-probe")
    curl.setopt(pycurl.TIMEOUT_MS, int(timeout_s * 1000))
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    curl.setopt(pycurl.OPT_CERTINFO, 1)
    curl.setopt(pycurl.FOLLOWLOCATION, int(follow))
    curl.setopt(pycurl.WRITEFUNCTION, body.write)
    curl.setopt(pycurl.HEADERFUNCTION, lambda line: received.append(line.decode("latin-1").strip()))
    curl.setopt(pycurl.VERBOSE, 1)
    curl.setopt(
        pycurl.DEBUGFUNCTION,
        lambda kind, text: log.append(text.decode(errors="replace").strip()) if kind == 0 else None,
    )
    if headers:
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
    if cacert is not None:
        curl.setopt(pycurl.CAINFO, str(cacert))
    if tls_max:
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2 | TLS_MAX[tls_max])
    if ciphers:
        curl.setopt(pycurl.SSL_CIPHER_LIST, ciphers)
    if client is not None:
        curl.setopt(pycurl.SSLCERT_BLOB, client.certificate.encode())
        curl.setopt(pycurl.SSLKEY_BLOB, client.key.encode())
    if address:
        curl.setopt(pycurl.CONNECT_TO, [connect_to(url, address)])
    error, code = "", 0
    try:
        curl.perform()
    except pycurl.error as failed:
        code, error = failed.args
    evidence = _evidence(curl, url, error, code, received, body.getvalue(), log)
    curl.close()
    return evidence


def connect_to(url: str, address: str) -> str:
    """The `--connect-to` argument that sends `url`'s connection to `address` (`host` or `host:port`)."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    host, _, to_port = (
        address.rpartition(":") if re.fullmatch(r"(\[.*\]|[^:]+):\d+", address) else (address, "", "")
    )
    return f"{parts.hostname}:{port}:{host}:{to_port or port}"


def _evidence(
    curl: pycurl.Curl, url: str, error: str, code: int, received: list[str], body: bytes, log: list[str]
) -> Evidence:
    told = "\n".join(log)
    session = re.search(r"SSL connection using (\S+) / (\S+)", told)
    alpn = re.search(r"ALPN: server accepted (\S+)", told)
    chain = curl.getinfo(pycurl.INFO_CERTINFO) or []
    certificate = dict(chain[0]).get("Cert", "") if chain else ""
    connect_s, tls_s = curl.getinfo(pycurl.CONNECT_TIME), curl.getinfo(pycurl.APPCONNECT_TIME)
    peer = curl.getinfo(pycurl.PRIMARY_IP)
    return Evidence(
        url=url,
        address=f"{peer}:{curl.getinfo(pycurl.PRIMARY_PORT)}" if peer else "",
        status=curl.getinfo(pycurl.RESPONSE_CODE),
        error=error,
        error_code=code,
        http_version=HTTP_VERSIONS.get(curl.getinfo(pycurl.INFO_HTTP_VERSION), ""),
        tls_version=session[1] if session else "",
        cipher=session[2] if session else "",
        alpn=alpn[1] if alpn else "",
        certificate=certificate,
        headers=_last_headers(received),
        body=body,
        connect_ms=connect_s * 1000,
        tls_ms=max(0.0, tls_s - connect_s) * 1000,
        first_byte_ms=curl.getinfo(pycurl.STARTTRANSFER_TIME) * 1000,
        total_ms=curl.getinfo(pycurl.TOTAL_TIME) * 1000,
        log=tuple(log),
    )


def _last_headers(lines: list[str]) -> dict[str, str]:
    """The header block of the last answer; earlier ones are redirects or interim answers."""
    headers: dict[str, str] = {}
    for line in lines:
        if line.startswith("HTTP/"):
            headers = {}
        elif ": " in line:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
    return headers


@contextlib.contextmanager
def tls_server(pair: tls.Pair) -> Iterator[str]:
    """A throw-away TLS server on loopback that shows `pair` and answers `ok`; yields `127.0.0.1:<port>`.

    For trying a certificate on real clients before it goes into the cluster.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load(context, pair)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=2)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:  # the context ended and shut the listener
            return
        plain.settimeout(5)
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n")
