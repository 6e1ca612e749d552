"""The lab's curl as a process: what it prints and how it ends, against a real server on loopback."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlib import tls
from meshlib.lab.kubelet import environment
from meshlib.probe import tls_server


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent; the path /busy is 503 twice, then 200."""

    busy = 2

    def answer(self) -> None:
        length = int(self.headers.get("content-length", 0))
        status = 404 if self.path == "/missing" else 200
        if self.path == "/busy" and Echo.busy:
            Echo.busy -= 1
            status = 503
        kind, probe = self.headers.get("content-type", ""), self.headers.get("x-probe", "")
        body = f"{self.command} {self.path} {self.headers['host']} {probe} {kind} ".encode()
        body += self.rfile.read(length)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()


def curl(*argv: str, **env: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "meshlib.lab.programs.curl", *argv]
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(command, env=clean | env, capture_output=True, timeout=20, text=True)
    return done.returncode, done.stdout, done.stderr


def test_one_request_with_what_was_asked(server: str) -> None:
    code, out, err = curl("-sS", "-H", "x-probe: a", "-d", "x=1", "-d", "y=2", f"http://{server}/form")
    assert (code, err) == (0, "")
    assert out == f"POST /form {server} a application/x-www-form-urlencoded x=1&y=2"


def test_write_out_follows_each_url(server: str, tmp_path: Path) -> None:
    template = "%{http_code} %{exitcode} %header{content-length}%% %{unknown}\\n"
    out_file = str(tmp_path / "first")
    code, out, _ = curl(
        "-s", "-w", template, "-o", out_file, f"http://{server}/a", f"http://{server}/missing"
    )
    assert code == 0
    first, second = out.split("\n", 1)
    assert first.startswith("200 0 ")
    assert second.startswith("GET /missing")
    assert "404 0 " in second
    assert Path(out_file).read_text().startswith("GET /a")


def test_head_and_include_show_headers(server: str) -> None:
    assert curl("-sI", f"http://{server}/a")[1].startswith("HTTP/1.0 200 OK\n")
    assert "\n\nGET /a" in curl("-si", f"http://{server}/a")[1]


def test_fail_turns_a_status_into_an_exit_code(server: str) -> None:
    code, out, err = curl("-sSf", f"http://{server}/missing")
    assert (code, out) == (22, "")
    assert err.startswith("curl: (22) The requested URL returned error: 404")


def test_retry_writes_only_the_last_answer(server: str) -> None:
    Echo.busy = 2
    code, out, err = curl("--retry", "3", "--retry-delay", "0.01", f"http://{server}/busy")
    assert (code, out.count("GET /busy")) == (0, 1)
    assert err.count("Will retry") == 2


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--parallel", "http://127.0.0.1"], 2, "option --parallel: is unknown"),
        (["-sZ", "http://127.0.0.1"], 2, "option -Z: is unknown"),
        (["-H"], 2, "option -H: requires parameter"),
        (["-m", "soon", "http://127.0.0.1"], 2, "expected a proper numerical parameter"),
        (["-s"], 2, "no URL specified"),
        (["http://127.0.0.1/{a,b}"], 3, "globbing"),
        (["-sS", "ftp://127.0.0.1/"], 1, "(1) "),
        (["-sS", "http://nowhere.invalid/"], 6, "Could not resolve host: nowhere.invalid"),
    ],
)
def test_what_cannot_be_done_fails_as_curl_fails(argv: list[str], code: int, words: str) -> None:
    ended, out, err = curl(*argv)
    assert (ended, out) == (code, "")
    assert words in err


def test_nobody_listens_is_7_and_silence_is_28() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert curl("-sS", "-m", "0.2", f"http://127.0.0.1:{port}/")[0] == 28
    code, _, err = curl("-s", f"http://127.0.0.1:{port}/")
    assert (code, err) == (7, "")


def test_names_of_services_are_found_and_only_without_a_proxy(server: str, tmp_path: Path) -> None:
    host, _, port = server.partition(":")
    services = [
        {"metadata": {"name": "till", "namespace": "shop"}, "spec": {"clusterIP": host}},
        {"metadata": {"name": "headless", "namespace": "shop"}, "spec": {"clusterIP": "None"}},
    ]
    hosts = tmp_path / "hosts"
    hosts.write_text(environment.hosts(services, "shop"))
    for name in ("till", "till.shop", "till.shop.svc", "till.shop.svc.cluster.local"):
        assert curl("-sS", f"http://{name}:{port}/a", MESHLIB_HOSTS=str(hosts))[:2] == (
            0,
            f"GET /a {name}:{port}   ",
        )
    hosts.write_text(environment.hosts(services, "elsewhere"))
    assert curl("-sS", f"http://till:{port}/a", MESHLIB_HOSTS=str(hosts))[0] == 6
    via = curl("-sS", "http://till/a", MESHLIB_HOSTS=str(hosts), http_proxy=f"http://{server}")
    assert via[1].startswith("GET http://till/a till ")


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    ca = tls.authority("a CA", 1)
    trust = tmp_path / "ca.crt"
    trust.write_text(ca.certificate)
    with tls_server(tls.leaf(ca, ["shop.example"], 1)) as address:
        host, _, port = address.partition(":")
        there = ["-sS", "--resolve", f"shop.example:{port}:{host}", f"https://shop.example:{port}/"]
        assert curl(*there)[0] == 60
        assert curl("--cacert", str(trust), *there)[:2] == (0, "ok\n")
        assert curl("-k", *there)[:2] == (0, "ok\n")
        code, out, _ = curl("--cacert", str(trust), "--tls-max", "1.2", "-v", *there)
        assert (code, out) == (0, "ok\n")
