"""What is loaded: a real Envoy on loopback that answers by itself, over TLS with HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from meshlib import tls, wait
from meshlib.errors import PreflightError

HOST = "bench.lab.test"
TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True)
class Target:
    """`url` is for clients that can be told the address of `host`; `by_address` for those that cannot."""

    url: str
    by_address: str
    resolve: str
    cacert: Path


@contextlib.contextmanager
def envoy() -> Iterator[Target]:
    """An Envoy with one worker thread, ready, and ended when the context ends."""
    program = shutil.which("envoy", path=f"{Path(sys.executable).parent}:{'/usr/bin:/usr/local/bin'}")
    if program is None:
        raise PreflightError("no envoy beside this Python", fix="pip install -r requirements.txt")
    with tempfile.TemporaryDirectory(prefix="meshlib-bench-") as name:
        folder = Path(name)
        ca = tls.authority("bench", 2)
        pair = tls.leaf(ca, [HOST], 2)
        for file, text in (("ca.pem", ca.certificate), ("cert.pem", pair.certificate), ("key.pem", pair.key)):
            (folder / file).touch(mode=0o600)
            (folder / file).write_text(text)
        port = _free_port()
        (folder / "envoy.yaml").write_text(yaml.safe_dump(_bootstrap(folder, port)))
        argv = [
            program,
            "-c",
            str(folder / "envoy.yaml"),
            "--concurrency",
            "1",
            "-l",
            "error",
            "--use-dynamic-base-id",
        ]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait.until(lambda: _listens(port), "Envoy", timeout_s=20)
                where = f"{HOST}:{port}"
                yield Target(
                    f"https://{where}/", f"https://127.0.0.1:{port}/", f"{where}:127.0.0.1", folder / "ca.pem"
                )
            finally:
                process.terminate()


def _listens(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError as error:
        raise wait.NotYet(str(error)) from error


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def _bootstrap(folder: Path, port: int) -> dict[str, object]:
    pair = {
        "certificate_chain": {"filename": str(folder / "cert.pem")},
        "private_key": {"filename": str(folder / "key.pem")},
    }
    answer = {"status": 200, "body": {"inline_string": "ok\n"}}
    http = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
                }
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"}}
        ],
    }
    secure = {
        "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]},
    }
    listener = {
        "name": "bench",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "transport_socket": {"name": "tls", "typed_config": secure},
                "filters": [{"name": "http", "typed_config": http}],
            }
        ],
    }
    return {"static_resources": {"listeners": [listener]}}
