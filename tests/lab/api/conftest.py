"""A real API server on a free port, its callers, and a node made of files and sockets."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from meshlib.lab import pki
from meshlib.lab.api.allocation import Allocator
from meshlib.lab.api.app import ApiApp
from meshlib.lab.api.bootstrap import bootstrap
from meshlib.lab.api.identity import AUTHENTICATED, Identity
from meshlib.lab.api.registry import Registry
from meshlib.lab.api.server import ApiServer
from meshlib.lab.api.store import Store
from meshlib.lab.api.tokens import TokenIssuer

Obj = dict[str, Any]
NAMESPACE = "shop"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.prepare(tmp_path_factory.mktemp("pki"), ("127.0.0.1",))


@dataclass
class FilesAndSockets:
    """The node of the tests: logs are files, ports are what the test opened, commands run here."""

    folder: Path
    ports: dict[int, int] = field(default_factory=dict)

    def log_file(self, pod: Obj, container: str, previous: bool) -> Path:
        return self.folder / f"{pod['metadata']['name']}-{container}{'.previous' if previous else ''}"

    def reach(self, pod: Obj, port: int) -> tuple[str, int]:
        return "127.0.0.1", self.ports.get(port, port)

    async def execute(self, pod: Obj, container: str, argv: list[str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)


@dataclass
class Api:
    """A running server; `client(user)` calls it as admin or reader, `url` is its base."""

    registry: Registry
    app: ApiApp
    node: FilesAndSockets
    url: str
    tls: Callable[[str | None], ssl.SSLContext]
    client: Callable[..., httpx.AsyncClient]


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a cluster that was just made, with one more namespace."""

    async def furnish(registry: Registry) -> None:
        await bootstrap(registry)
        await registry.create("namespaces", None, {"metadata": {"name": NAMESPACE}}, manager="test")
        account = {"metadata": {"name": "default"}}
        await registry.create("serviceaccounts", NAMESPACE, account, manager="test")

    path = tmp_path_factory.mktemp("furnished") / "state.db"
    store = Store(path)
    asyncio.run(furnish(Registry(store, Allocator())))
    store.close()
    return path


@pytest.fixture
async def api(tmp_path: Path, certificates: pki.Pki, furnished: Path) -> AsyncIterator[Api]:
    shutil.copy(furnished, tmp_path / "state.db")
    store = Store(tmp_path / "state.db")
    registry = Registry(store, Allocator())
    issuer = TokenIssuer.from_pem(certificates.key("apiserver").read_bytes(), registry.find)
    tokens = {"static-token": Identity("someone", (AUTHENTICATED,))}
    node = FilesAndSockets(tmp_path)
    app = ApiApp(registry, node, issuer=issuer, tokens=tokens)
    server = ApiServer(app)
    serving = asyncio.create_task(
        server.serve(
            "127.0.0.1",
            0,
            certificate=certificates.certificate("apiserver"),
            key=certificates.key("apiserver"),
            client_ca=certificates.ca,
        )
    )
    await asyncio.wait_for(server.started.wait(), 10)
    url = f"https://127.0.0.1:{server.port}"

    def tls(user: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(certificates.ca))
        if user:
            context.load_cert_chain(certificates.certificate(user), certificates.key(user))
        return context

    opened: list[httpx.AsyncClient] = []

    def client(user: str | None = "admin", **headers: str) -> httpx.AsyncClient:
        made = httpx.AsyncClient(base_url=url, verify=tls(user), trust_env=False, headers=headers, timeout=30)
        opened.append(made)
        return made

    yield Api(registry, app, node, url, tls, client)
    for each in opened:
        await each.aclose()
    server.stop()
    await asyncio.wait_for(serving, 10)
    store.close()
