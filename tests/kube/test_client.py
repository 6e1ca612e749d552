"""Which kubeconfigs are taken: those that can be read, and whose server is known for sure."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from meshlib.errors import ClusterError
from meshlib.kube import client


def kubeconfig(folder: Path, **cluster: object) -> Path:
    path = folder / "config"
    content = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"server": "https://h:6443", "insecure-skip-tls-verify": True}, "leaves https://h:6443 unverified"),
        ({"server": "http://h:8080"}, "http://h:8080 is no https"),
        ({"server": "ftp://h"}, "ftp://h is no https"),
        ({"server": "https://h", "certificate-authority": "/nope"}, "cannot be used"),
        ({}, "no server is named"),
    ],
)
def test_a_server_that_cannot_be_known_is_refused(
    tmp_path: Path, cluster: dict[str, object], why: str
) -> None:
    with pytest.raises(ClusterError, match=why) as refused:
        client.connect(kubeconfig(tmp_path, **cluster))
    assert "secret-token" not in str(refused.value)


def test_a_proxy_of_the_environment_is_for_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    near = client.connect(kubeconfig(tmp_path, server="https://127.0.0.1:1"))
    with pytest.raises(ClusterError, match=r"127.0.0.1.*Connection refused"):
        near.call("GET", "/version")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        near = client.connect(kubeconfig(tmp_path, server=f"http://127.0.0.1:{port}"))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        asking = threading.Thread(target=_ignore_refusal, args=(lambda: near.pod_socket("p", "ns", 80),))
        asking.start()
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /api/v1/namespaces/ns/pods/p/portforward")
        asking.join()
    far = client.connect(kubeconfig(tmp_path, server="https://h:6443"))
    assert far.api.configuration.proxy == "http://proxy.example.test:3128"


def _ignore_refusal(ask: Callable[[], object]) -> None:
    with contextlib.suppress(ClusterError):
        ask()


@pytest.mark.parametrize("server", ["https://h:6443", "http://127.0.0.1:8001", "http://localhost:8001"])
def test_a_verified_server_and_a_proxy_of_this_machine_are_taken(tmp_path: Path, server: str) -> None:
    assert client.connect(kubeconfig(tmp_path, server=server)).server == server
