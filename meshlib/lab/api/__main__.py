"""`python -m meshlib.lab.api --home DIR`: the bare API server, without controllers and pods."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from meshlib.lab import pki

from .allocation import Allocator
from .app import ApiApp
from .bootstrap import bootstrap
from .registry import Registry
from .server import ApiServer
from .store import Store
from .tokens import TokenIssuer

HOST = "127.0.0.1"


async def main(home: Path, port: int) -> None:
    """Serve until the process is ended; writes <home>/kubeconfig and kubeconfig.read-only."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = pki.prepare(home / "pki", (HOST,))
    registry = Registry(Store(home / "state.db"), Allocator())
    await bootstrap(registry)
    issuer = TokenIssuer.from_pem(made.key("apiserver").read_bytes(), registry.find)
    server = ApiServer(ApiApp(registry, None, issuer=issuer))
    serving = asyncio.create_task(
        server.serve(
            HOST,
            port,
            certificate=made.certificate("apiserver"),
            key=made.key("apiserver"),
            client_ca=made.ca,
        )
    )
    await server.started.wait()
    url = f"https://{HOST}:{server.port}"
    for file, user in (("kubeconfig", "admin"), ("kubeconfig.read-only", "reader")):
        pki.write_private(home / file, pki.kubeconfig(url, made, user).encode())
    print(f"{url}  {home / 'kubeconfig'}", flush=True)
    await serving


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(options.home, options.port))
