"""The control plane's process: `python -m meshlib.lab.controlplane --home DIR`, started by `cluster.start`.

It reports `{"ready": true}` or `{"error": …, "fix": …}` on the file descriptor that MESHLIB_REPORT_FD names,
then serves until SIGTERM, ends its pods' processes and leaves every object in the store.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sqlite3
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import meshlib
from meshlib.errors import LabError, MeshlibError
from meshlib.lab import frontdoor, network, pki, state
from meshlib.lab.api.allocation import Allocator
from meshlib.lab.api.app import ApiApp
from meshlib.lab.api.registry import Registry
from meshlib.lab.api.server import ApiServer
from meshlib.lab.api.store import Store
from meshlib.lab.api.tokens import TokenIssuer
from meshlib.lab.controllers import manager
from meshlib.lab.controllers.queue import Controller
from meshlib.lab.kubelet.context import Context
from meshlib.lab.kubelet.images import ImageTable, load_images
from meshlib.lab.kubelet.node import Kubelet, machine_capacity
from meshlib.lab.kubelet.proxy import ServiceProxy
from meshlib.lab.kubelet.records import Records
from meshlib.lab.kubelet.scheduler import Scheduler

log = logging.getLogger("meshlib.lab")

REPORT_FD = "MESHLIB_REPORT_FD"
STOP_GRACE_S = 5.0
UNREADABLE = "remove the folder pki of the lab's home: it is made anew, and the objects stay"


def report(message: dict[str, Any]) -> None:
    """Tell the process that started this one, if it listens."""
    if number := os.environ.pop(REPORT_FD, None):
        with os.fdopen(int(number), "w") as pipe:
            pipe.write(json.dumps(message))


def choose_port(before: state.ClusterState | None, wanted: int | None) -> int:
    """The port asked for; else that of the last time, so that kubeconfigs stay true; else 0, any free one.

    Raises `LabError` when the port asked for is in use.
    """
    if wanted:
        if not network.can_bind(network.LOOPBACK, wanted):
            raise LabError(
                f"the API server cannot listen on 127.0.0.1:{wanted}: the port is in use",
                fix="end what uses the port, or let the lab choose one: meshlib lab up --port 0",
            )
        return wanted
    if wanted is None and before is not None:
        last = int(before.server.rpartition(":")[2])
        if network.can_bind(network.LOOPBACK, last):
            return last
        log.warning("127.0.0.1:%d, where the API server was, is in use; taking a free port", last)
    return 0


async def serve(server: ApiServer, port: int, keys: pki.Pki) -> asyncio.Task[None]:
    """The serving task, listening; raises `LabError` when it cannot."""
    serving = asyncio.create_task(
        server.serve(
            network.LOOPBACK,
            port,
            certificate=keys.certificate("apiserver"),
            key=keys.key("apiserver"),
            client_ca=keys.ca,
        )
    )
    started = asyncio.create_task(server.started.wait())
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if serving.done():
        cause = serving.exception()
        raise LabError(f"the API server cannot serve on 127.0.0.1:{port}: {cause}", fix=UNREADABLE) from cause
    return serving


async def settle(controllers: list[Controller], tasks: list[asyncio.Task[None]]) -> None:
    """Until the controllers have seen what there is, so that nobody reads what was true before a crash."""

    async def all_settled() -> None:
        await asyncio.gather(*(each.settled.wait() for each in controllers))

    settled = asyncio.create_task(all_settled())
    await asyncio.wait({settled, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    settled.cancel()


async def run(home: Path, images: Path | None, kubernetes_version: str, port: int | None) -> None:
    """Bring the lab up, serve until SIGTERM or SIGINT, take it down."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    guard = state.lock(home)
    before = state.read(home)
    table = ImageTable(load_images(images) if images else None)
    if stale := Records(home / "processes").end_stale():
        log.warning("ended %d processes that an earlier control plane left: %s", len(stale), stale)
    subnet, held = network.hold_subnet(before.subnet if before else None)
    registry = Registry(Store(home / state.DATABASE), Allocator(IPv4Network(subnet.service_cidr)))
    try:
        keys = pki.prepare(home / "pki", (network.LOOPBACK, subnet.cluster_ip(0)))
        issuer = TokenIssuer.from_pem(keys.key("sa").read_bytes(), registry.find)
    except (ValueError, TypeError) as error:
        why = f"a key or certificate in {home / 'pki'} cannot be used: {error}"
        raise LabError(why, fix=UNREADABLE) from error
    ca_pem = keys.ca.read_bytes()
    context = Context(registry, home, subnet, table, ca_pem, issuer.mint, machine_capacity())
    kubelet = Kubelet(context)
    server = ApiServer(ApiApp(registry, kubelet, issuer=issuer, git_version=kubernetes_version))
    serving = await serve(server, choose_port(before, port), keys)
    context.server = server_url = f"https://{network.LOOPBACK}:{server.port}"
    await frontdoor.objects(registry, subnet, server.port)
    await kubelet.register()
    pid, started_s = state.myself()
    now = state.ClusterState(
        pid=pid,
        started_s=started_s,
        server=server_url,
        subnet=subnet.second,
        shared_address=subnet.shared,
        version=meshlib.__version__,
        kubernetes_version=kubernetes_version,
        images=str(images) if images else None,
    )
    await kubelet.recover()
    controllers = manager.controllers(registry, ca_pem.decode(), subnet)
    jobs = [
        manager.run(controllers),
        Scheduler(context).run(),
        kubelet.run(),
        kubelet.keep_beating(),
        ServiceProxy(registry, subnet).run(),
    ]
    tasks = [serving, *(asyncio.create_task(each) for each in jobs)]
    for name, user in (("kubeconfig", "admin"), ("kubeconfig.read-only", "reader")):
        pki.write_private(home / name, pki.kubeconfig(server_url, keys, user).encode())
    await settle(controllers, tasks)
    state.write(home, now)
    report({"ready": True})
    log.info("ready: %s, %s, pid %d", server_url, subnet.node, pid)
    gc.collect()
    gc.freeze()
    watch = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait({watch, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {watch}:
        log.critical("a part of the control plane ended", exc_info=task.exception())
    log.info("stopping")
    for task in tasks[1:]:
        task.cancel()
    await kubelet.stop(STOP_GRACE_S)
    server.stop()
    await asyncio.wait({serving})
    state.write(home, state.ended(now))
    held.close()
    guard.close()


def main() -> int:
    """Exit code 0 after SIGTERM, 1 when it could not start or a part failed."""
    parser = argparse.ArgumentParser("meshlib.lab.controlplane")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--kubernetes-version", required=True)
    parser.add_argument("--port", type=int)
    args = parser.parse_args()
    if os.getsid(0) != os.getpid():
        os.setsid()  # Ctrl-C and the end of the terminal are not for the control plane
    os.umask(0o077)  # Secrets are in state.db; the home's own mode is not all that keeps them
    os.chdir(args.home)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # They would write URLs into the log, and the URL of an exec is its command, with what is secret in it.
    for name in ("httpx", "uvicorn.error", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
    work = run(args.home, args.images, args.kubernetes_version, args.port)
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(work)
        else:
            uvloop.run(work)
    except (MeshlibError, OSError, sqlite3.Error) as error:
        log.exception("the control plane cannot go on")
        fix = error.fix if isinstance(error, MeshlibError) else None
        message = getattr(error, "message", str(error))
        if isinstance(error, sqlite3.Error):
            message = f"{args.home / state.DATABASE}: {error}"
            fix = "free space, or put a copy of the file back; meshlib lab reset starts anew, without objects"
        report({"error": message, "fix": fix})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
