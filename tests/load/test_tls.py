"""TLS as the load engine sees it: always verified, failures told apart, client certificates."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlib import load

HOST = "shop.lab.test"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A CA in a folder; `issue` writes certificate and key of a leaf and returns their paths."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._start(self.subject, self.key, NOW + DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _start(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime) -> Any:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 10 * DAY)
            .not_valid_after(end)
        )

    def issue(self, name: str, *, end: datetime.datetime = NOW + DAY) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._start(subject, key, end).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        stem = f"{name}-{len(list(self.folder.iterdir()))}"
        cert, key_file = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        cert.write_bytes(built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert, key_file


Serve = Callable[..., int]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "lab-ca")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an HTTPS server with a certificate; returns its port."""
    stops: list[Callable[[], object]] = []

    def start(cert: Path, key: Path, client_ca: Path | None = None) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        ready = threading.Event()
        port: list[int] = []
        stop: list[Callable[[], object]] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
                writer.close()

        async def main() -> None:
            done, loop = asyncio.Event(), asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: None)  # refused handshakes are what is tested
            stop.append(lambda: loop.call_soon_threadsafe(done.set))
            server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await done.wait()
            server.close()

        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        assert ready.wait(5)
        stops.extend([*stop, lambda: thread.join(5)])
        return port[0]

    yield start
    for each in stops:
        each()


def run(port: int, *, host: str = HOST, **options: Any) -> Any:
    return load.run(
        f"https://{host}:{port}/",
        requests=6,
        duration_s=None,
        connections=2,
        timeout_s=5,
        resolve=[f"{host}:{port}:127.0.0.1"],
        **options,
    )


def test_a_verified_connection_and_its_handshake(authority: Authority, serve: Serve) -> None:
    port = serve(*authority.issue(HOST))
    result = run(port, cacert=authority.file)
    assert result.numbers.statuses == {"200": 6}
    new = result.requests[result.requests["new_connection"]]
    assert len(new) == 2
    assert (new["connect_ms"] < new["tls_ms"]).all()
    cold = run(port, cacert=authority.file, keepalive=False)
    assert cold.numbers.connections_opened == 6


def test_certificates_that_must_not_be_accepted(authority: Authority, serve: Serve, tmp_path: Path) -> None:
    good = serve(*authority.issue(HOST))
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "other-ca")
    assert run(good, cacert=stranger.file).numbers.errors == {"certificate_untrusted": 6}
    assert run(good).numbers.errors == {"certificate_untrusted": 6}
    assert run(good, cacert=authority.file, host="other.lab.test").numbers.errors == {"certificate_name": 6}
    expired = serve(*authority.issue(HOST, end=NOW - DAY))
    assert run(expired, cacert=authority.file).numbers.errors == {"certificate_expired": 6}


def test_client_certificates(authority: Authority, serve: Serve) -> None:
    port = serve(*authority.issue(HOST), authority.file)
    cert, key = authority.issue("client")
    assert run(port, cacert=authority.file, cert=cert, key=key).numbers.statuses == {"200": 6}
    assert sum(run(port, cacert=authority.file).numbers.errors.values()) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_returns_what_was_measured(server: Any, workers: int) -> None:
    def interrupt() -> None:
        while len(server.heads) < 50:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    result = load.run(server.url + "/", connections=2, duration_s=60, workers=workers)
    assert time.monotonic() - began < 30
    assert result.numbers.requests == len(result.requests) >= 50
    assert any("interrupted" in warning for warning in result.numbers.warnings)
