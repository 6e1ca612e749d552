"""exec, attach and portforward over WebSocket: the channels of `v4.channel.k8s.io` and `v5.channel.k8s.io`.

Every message starts with the number of its channel.  exec and attach: 0 stdin, 1 stdout, 2 stderr, 3 the
final Status, 4 terminal size.  portforward: for the port with index i, 2i carries data and 2i+1 errors, and
each starts with the port's number in two bytes, little-endian.  In v5, `255 n` ends channel n.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from .codec import encode
from .errors import StatusError, bad_request
from .logs import container_of
from .node import Node
from .registry import Registry
from .request import Query, Target
from .store import Obj
from .tunnel import PROTOCOL, Tunnel

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
CHUNK = 32 * 1024
POLL_S = 0.1
END_S = 5.0

Receive = Callable[[int, bytes], Awaitable[None]]


async def execute(registry: Registry, node: Node | None, target: Target, socket: WebSocket) -> None:
    """Run a command in a container; raises StatusError before the connection is accepted."""
    query = Query(socket.url.query)
    pod, reach = _running_pod(registry, node, target)
    container = container_of(pod, query.text("container"))
    argv = query.all("command")
    if not argv:
        raise bad_request("you must specify at least 1 command for the container")
    if query.flag("tty"):
        raise bad_request("the embedded lab has no terminals: run the command without tty (kubectl exec -i)")
    protocol = _protocol(socket)
    process = await reach.execute(pod, container, argv)
    await socket.accept(subprotocol=protocol)
    pumps = [
        asyncio.create_task(_pump(process.stdout, socket, STDOUT if query.flag("stdout") else None)),
        asyncio.create_task(_pump(process.stderr, socket, STDERR if query.flag("stderr") else None)),
    ]
    stdin = process.stdin

    async def receive(channel: int, data: bytes) -> None:
        if stdin is None or stdin.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            if channel == STDIN and data:
                stdin.write(data)
                await stdin.drain()
            elif channel == CLOSE and data[:1] == bytes([STDIN]):
                stdin.close()

    if stdin is not None and not query.flag("stdin"):
        stdin.close()
    listening = asyncio.create_task(_receive(socket, receive))
    waiting = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({listening, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await asyncio.wait(pumps, timeout=END_S)
            await _finish(socket, _exit_status(waiting.result()))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await _cancel(listening, waiting, *pumps)


async def attach(registry: Registry, node: Node | None, target: Target, socket: WebSocket) -> None:
    """Follow what a container writes from now on; its stdin cannot be reached."""
    query = Query(socket.url.query)
    pod, reach = _running_pod(registry, node, target)
    container = container_of(pod, query.text("container"))
    if query.flag("stdin") or query.flag("tty"):
        raise bad_request(f"container {container} has neither stdin nor a terminal: attach without -i and -t")
    protocol = _protocol(socket)
    path = reach.log_file(pod, container, False)
    await socket.accept(subprotocol=protocol)
    following = asyncio.create_task(_follow(path, socket))
    listening = asyncio.create_task(_receive(socket, _ignore))
    try:
        await asyncio.wait({listening, following}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(listening, following)


async def port_forward(registry: Registry, node: Node | None, target: Target, socket: WebSocket) -> None:
    """Carry connections to a pod's ports: tunnelled SPDY, or channels where each port is opened once."""
    query = Query(socket.url.query)
    pod, reach = _running_pod(registry, node, target)
    if PROTOCOL in (socket.scope.get("subprotocols") or []):
        await socket.accept(subprotocol=PROTOCOL)
        await Tunnel(pod, reach, socket).run()
        return
    try:
        ports = [int(each) for text in query.all("ports") for each in text.split(",")]
    except ValueError as error:
        raise bad_request(f"unable to parse port: {error}") from error
    if not ports or not all(0 < port < 65536 for port in ports):
        raise bad_request('query parameter "ports" is required')
    protocol = _protocol(socket)
    await socket.accept(subprotocol=protocol)
    writers: dict[int, asyncio.StreamWriter] = {}
    pumps = []
    for index, port in enumerate(ports):
        start = port.to_bytes(2, "little")
        await _send(socket, 2 * index, start)
        await _send(socket, 2 * index + 1, start)
        try:
            reader, writer = await asyncio.open_connection(*reach.reach(pod, port))
        except (OSError, StatusError) as error:
            why = f"error forwarding port {port} to pod {pod['metadata']['name']}: {error}"
            await _send(socket, 2 * index + 1, why.encode())
            continue
        writers[2 * index] = writer
        pumps.append(asyncio.create_task(_pump(reader, socket, 2 * index)))

    async def receive(channel: int, data: bytes) -> None:
        if channel == CLOSE and data and data[0] in writers:
            writers[data[0]].close()
        elif (writer := writers.get(channel)) is not None and not writer.is_closing():
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()

    listening = asyncio.create_task(_receive(socket, receive))
    try:
        if pumps:
            all_done = asyncio.ensure_future(asyncio.wait(pumps))
            await asyncio.wait({listening, all_done}, return_when=asyncio.FIRST_COMPLETED)
            await _cancel(all_done)
        await _close(socket)
    finally:
        for writer in writers.values():
            writer.close()
        await _cancel(listening, *pumps)


def _running_pod(registry: Registry, node: Node | None, target: Target) -> tuple[Obj, Node]:
    pod = registry.get("pods", target.namespace, target.name or "")
    if node is None or not pod["spec"].get("nodeName"):
        raise bad_request(f"pod {target.name} does not have a host assigned")
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
    return pod, node


def _protocol(socket: WebSocket) -> str | None:
    """The protocol of the connection; None where the client named none (then v4's channels are used)."""
    offered = socket.scope.get("subprotocols") or []
    if not offered:
        return None
    for each in PROTOCOLS:
        if each in offered:
            return each
    raise bad_request(
        f"unable to upgrade: none of {', '.join(offered)} is supported, only {', '.join(PROTOCOLS)}"
    )


async def _receive(socket: WebSocket, receive: Receive) -> None:
    """Hand messages on until the client goes."""
    try:
        while True:
            message: Any = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                data = (message.get("text") or "").encode("latin-1", "replace")
                if data[:1].isdigit():
                    data = bytes([data[0] - ord("0")]) + data[1:]
            if data:
                await receive(data[0], data[1:])
    except WebSocketDisconnect:
        return


async def _ignore(_: int, __: bytes) -> None:
    return


async def _pump(reader: asyncio.StreamReader | None, socket: WebSocket, channel: int | None) -> None:
    """Send what a stream says; without a channel it is read and dropped, so that its writer never blocks."""
    with contextlib.suppress(ConnectionError, WebSocketDisconnect, RuntimeError):
        while reader is not None and (data := await reader.read(CHUNK)):
            if channel is not None:
                await _send(socket, channel, data)


async def _follow(path: Any, socket: WebSocket) -> None:
    with path.open("rb") as file:
        file.seek(0, 2)
        rest = b""
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                await asyncio.sleep(POLL_S)
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            text = b"".join(line.partition(b" ")[2] + b"\n" for line in lines)
            if text:
                await _send(socket, STDOUT, text)


async def _send(socket: WebSocket, channel: int, data: bytes) -> None:
    await socket.send_bytes(bytes([channel]) + data)


def _exit_status(code: int) -> Obj:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    shown = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {shown}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(shown)}]},
    }


async def _finish(socket: WebSocket, status: Obj) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await _send(socket, STATUS, encode(status))
    await _close(socket)


async def _close(socket: WebSocket) -> None:
    """Close; a client that has gone already is no error."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(1000)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
