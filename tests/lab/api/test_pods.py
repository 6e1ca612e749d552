"""Logs, exec, port-forward, proxies and eviction, over a node of files, sockets and real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from meshlib.lab.api import spdy

from .conftest import Api, Obj

pytestmark = pytest.mark.anyio
POD = "/api/v1/namespaces/shop/pods/till"


@pytest.fixture
async def pod(api: Api) -> Obj:
    ports = [{"name": "http", "containerPort": 80}]
    spec = {"nodeName": "n", "containers": [{"name": "main", "image": "till:1", "ports": ports}]}
    meta = {"name": "till", "labels": {"app": "till"}}
    await api.registry.create("pods", "shop", {"metadata": meta, "spec": spec}, manager="t")

    def run(live: Obj) -> None:
        state = {"name": "main", "image": "till:1", "imageID": "", "ready": True, "restartCount": 0}
        live["status"].update(
            phase="Running",
            podIP="127.0.0.1",
            containerStatuses=[{**state, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        )

    return await api.registry.modify("pods", "shop", "till", run, subresource="status", manager="kubelet")


def write_log(api: Api, *lines: str, age_s: int = 0) -> None:
    stamp = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    with (api.node.folder / "till-main").open("a") as file:
        file.writelines(f"{stamp} {line}\n" for line in lines)


async def test_logs_as_they_are_asked_for(api: Api, pod: Obj) -> None:
    write_log(api, "one", "two", age_s=60)
    write_log(api, "three")
    client = api.client()

    async def text(**params: str) -> str:
        answer = await client.get(f"{POD}/log", params=params)
        assert answer.status_code == 200
        return answer.text

    assert await text() == "one\ntwo\nthree\n"
    assert await text(tailLines="2") == "two\nthree\n"
    assert await text(tailLines="0") == ""
    assert await text(sinceSeconds="30") == "three\n"
    assert await text(limitBytes="5") == "one\nt"
    stamped = await text(timestamps="true", tailLines="1")
    assert stamped.endswith("Z three\n")


async def test_a_followed_log_goes_on_until_the_container_ends(api: Api, pod: Obj) -> None:
    write_log(api, "one")
    seen: list[str] = []

    async def follow() -> None:
        async with api.client().stream("GET", f"{POD}/log", params={"follow": "1"}) as answer:
            async for text in answer.aiter_text():
                seen.extend(text.splitlines())

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    write_log(api, "two")
    await asyncio.sleep(0.3)
    assert seen == ["one", "two"]
    await api.registry.delete("pods", "shop", "till", grace_s=0)
    await asyncio.wait_for(following, 5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"container": "other"}, "container other is not valid for pod till"),
        ({"previous": "1"}, 'previous terminated container "main" in pod "till" not found'),
        ({"tailLines": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
async def test_logs_that_are_not_there(api: Api, pod: Obj, params: dict[str, str], message: str) -> None:
    answer = await api.client().get(f"{POD}/log", params=params)
    assert (answer.status_code, answer.json()["message"]) == (400, message)


def stream(api: Api, path: str, *protocols: str) -> connect:
    url = api.url.replace("https", "wss") + path
    offered = [Subprotocol(each) for each in protocols] or None
    return connect(url, ssl=api.tls("admin"), subprotocols=offered, proxy=None)


async def channels(socket: ClientConnection) -> dict[int, bytes]:
    """All that comes until the end, by channel."""
    found: dict[int, bytes] = {}
    try:
        async for message in socket:
            assert isinstance(message, bytes)
            found[message[0]] = found.get(message[0], b"") + message[1:]
    except ConnectionClosed:
        pass
    return found


def command(program: str) -> str:
    from urllib.parse import urlencode

    return urlencode([("command", each) for each in (sys.executable, "-c", program)])


async def test_exec_gives_output_errors_and_the_exit_code(api: Api, pod: Obj) -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    path = f"{POD}/exec?stdout=1&stderr=1&{command(program)}"
    async with stream(api, path, "v4.channel.k8s.io") as socket:
        found = await channels(socket)
    assert (found[1], found[2]) == (b"out\n", b"err\n")
    status = json.loads(found[3])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_reads_stdin_until_it_is_closed(api: Api, pod: Obj) -> None:
    path = f"{POD}/exec?stdin=1&stdout=1&{command('import sys; print(sys.stdin.read().upper())')}"
    async with stream(api, path, "v5.channel.k8s.io", "v4.channel.k8s.io") as socket:
        assert socket.subprotocol == "v5.channel.k8s.io"
        await socket.send(b"\x00hello")
        await socket.send(b"\xff\x00")
        found = await channels(socket)
    assert found[1] == b"HELLO\n"
    assert json.loads(found[3])["status"] == "Success"


async def test_a_command_ends_with_its_caller(api: Api, pod: Obj) -> None:
    program = "import os,time; print(os.getpid(), flush=True); time.sleep(60)"
    async with stream(api, f"{POD}/exec?stdout=1&{command(program)}", "v4.channel.k8s.io") as socket:
        first = await socket.recv()
    assert isinstance(first, bytes)
    import psutil

    for _ in range(100):
        if not psutil.pid_exists(int(first[1:])):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the command still runs")


@pytest.mark.parametrize(
    ("path", "protocol", "status"),
    [
        (f"{POD}/exec?command=x&tty=1", "v4.channel.k8s.io", 400),
        (f"{POD}/exec", "v4.channel.k8s.io", 400),
        (f"{POD}/exec?command=x", "other.example", 400),
        ("/api/v1/namespaces/shop/pods/none/exec?command=x", "v4.channel.k8s.io", 404),
        ("/nothing", "v4.channel.k8s.io", 404),
    ],
)
async def test_streams_that_are_refused(api: Api, pod: Obj, path: str, protocol: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with stream(api, path, protocol):
            pass
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"")["kind"] == "Status"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(100)).upper())
    await writer.drain()
    writer.close()


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        (
            int(v)
            for v in [
                x.partition(": ")[2] for x in head.split("\r\n") if x.lower().startswith("content-length")
            ]
        ),
        0,
    )
    body = await reader.readexactly(length)
    shown = json.dumps({"head": head, "body": body.decode()}).encode()
    writer.write(b"HTTP/1.1 203 Fine\r\nx-own: yes\r\ncontent-length: %d\r\n\r\n" % len(shown) + shown)
    await writer.drain()
    writer.close()


async def test_port_forward_carries_bytes_both_ways(api: Api, pod: Obj) -> None:
    async with listening(echo) as port:
        api.node.ports[80] = port
        async with stream(api, f"{POD}/portforward?ports=80", "v4.channel.k8s.io") as socket:
            assert [await socket.recv(), await socket.recv()] == [b"\x00\x50\x00", b"\x01\x50\x00"]
            await socket.send(b"\x00hello")
            assert await channels(socket) == {0: b"HELLO"}


async def test_a_port_that_nobody_listens_on_is_said_on_its_error_channel(api: Api, pod: Obj) -> None:
    async with listening(echo) as port:
        api.node.ports[80] = port
    async with stream(api, f"{POD}/portforward?ports=80", "v4.channel.k8s.io") as socket:
        found = await channels(socket)
    assert b"error forwarding port 80" in found[1]


@pytest.mark.parametrize("via", ["services/till", "services/http:till:web", "pods/till", "pods/till:80"])
async def test_the_proxies_stream_both_ways(api: Api, pod: Obj, via: str) -> None:
    async with listening(web) as port:
        api.node.ports[80] = port
        await publish(api, port)
        answer = await api.client(authorization="Bearer secret").post(
            f"/api/v1/namespaces/shop/{via}/proxy/a%2Fb/c?d=e&f", content=b"hello"
        )
    assert (answer.status_code, answer.headers["x-own"]) == (203, "yes")
    seen: dict[str, Any] = answer.json()
    assert seen["head"].startswith("POST /a%2Fb/c?d=e&f HTTP/1.1")
    assert seen["body"] == "hello"
    assert "secret" not in seen["head"]


async def test_a_pod_may_be_called_proxy(api: Api, pod: Obj) -> None:
    spec = {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]}
    made = {"metadata": {"name": "proxy-1"}, "spec": {**spec, "nodeName": "n"}}
    await api.registry.create("pods", "shop", made, manager="t")

    def start(live: Obj) -> None:
        live["status"] = {"phase": "Running", "podIP": "127.0.0.1"}

    await api.registry.modify("pods", "shop", "proxy-1", start, subresource="status", manager="t")
    acting = {"impersonate-user": "kubernetes-admin", "impersonate-group": "system:masters"}
    async with listening(web) as port:
        api.node.ports[80] = port
        answer = await api.client().get("/api/v1/namespaces/shop/pods/proxy-1/proxy/proxy/x", headers=acting)
        assert answer.json()["head"].startswith("GET /proxy/x HTTP/1.1")
        assert "masters" not in answer.json()["head"]
        answer = await api.client().get("/api/v1/namespaces/shop/pods/proxy-1/%70roxy/x")
        assert answer.json()["head"].startswith("GET /x HTTP/1.1")
    answer = await api.client().get("/api/v1/namespaces/shop/pods/proxy-1%2Fproxy/x")
    assert answer.status_code == 404


async def test_a_service_without_endpoints_is_unavailable(api: Api) -> None:
    service = {"metadata": {"name": "till"}, "spec": {"ports": [{"port": 80}]}}
    await api.registry.create("services", "shop", service, manager="t")
    answer = await api.client().get("/api/v1/namespaces/shop/services/till/proxy/")
    assert answer.status_code == 503
    assert answer.json()["message"] == 'no endpoints available for service "till"'


async def publish(api: Api, port: int) -> None:
    service = {"metadata": {"name": "till"}, "spec": {"ports": [{"name": "web", "port": 80}]}}
    await api.registry.create("services", "shop", service, manager="t")
    piece = {
        "metadata": {"name": "till-1", "labels": {"kubernetes.io/service-name": "till"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": [{"name": "web", "port": port, "protocol": "TCP"}],
    }
    await api.registry.create("endpointslices.discovery.k8s.io", "shop", piece, manager="t")


async def test_an_eviction_asks_the_budget(api: Api, pod: Obj) -> None:
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "till"}}},
    }
    await api.registry.create("poddisruptionbudgets.policy", "shop", budget, manager="t")
    client, body = api.client(), {"metadata": {"name": "till"}}
    answer = await client.post(f"{POD}/eviction", json=body)
    assert (answer.status_code, answer.json()["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")

    def allow(live: Obj) -> None:
        live["status"]["disruptionsAllowed"] = 1

    await api.registry.modify(
        "poddisruptionbudgets.policy", "shop", "b", allow, subresource="status", manager="t"
    )
    answer = await client.post(f"{POD}/eviction", json=body)
    assert (answer.status_code, answer.json()["status"]) == (201, "Success")
    assert "deletionTimestamp" in api.registry.get("pods", "shop", "till")["metadata"]
    left = api.registry.get("poddisruptionbudgets.policy", "shop", "b")["status"]["disruptionsAllowed"]
    assert left == 0


async def test_a_port_forward_as_kubectl_tunnels_it(api: Api, pod: Obj) -> None:
    async with listening(echo) as port:
        api.node.ports[80] = port
        async with tunnel(api) as (send, said):
            ours = spdy.Session()
            shared = {"port": "80", "requestid": "0"}
            await send(ours.open(1, {"streamtype": "error", **shared}) + spdy.data(1, b"", end=True))
            await send(ours.open(3, {"streamtype": "data", **shared}) + spdy.ping(7))
            await send(spdy.data(3, b"hello"))
            assert await said() == {1: b"", 3: b"HELLO"}


async def test_a_tunnelled_port_that_nobody_listens_on_is_said_on_its_error_stream(
    api: Api, pod: Obj
) -> None:
    async with listening(echo) as port:
        api.node.ports[80] = port
    async with tunnel(api) as (send, said):
        ours = spdy.Session()
        for number, kind in ((1, "error"), (3, "data")):
            await send(ours.open(number, {"streamtype": kind, "port": "80", "requestid": "0"}))
        assert (await said())[1].startswith(b"error forwarding port 80 to pod till, uid ")


Send = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def tunnel(api: Api) -> AsyncIterator[tuple[Send, Callable[[], Awaitable[dict[int, bytes]]]]]:
    """A WebSocket by hand, because a client library refuses the name of the protocol: to send a message,
    and to read what comes on the streams 1 and 3 until both have ended.
    """
    host, port = api.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=api.tls("admin"))
    head = (
        f"GET {POD}/portforward HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n"
    )
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"SPDY/3.1+portforward.k8s.io" in answer

    async def send(message: bytes) -> None:
        writer.write(Frame(Opcode.BINARY, message).serialize(mask=True))
        await writer.drain()

    async def said() -> dict[int, bytes]:
        session, found, ended = spdy.Session(), {1: b"", 3: b""}, set[int]()
        async with asyncio.timeout(10):
            while ended != {1, 3}:
                _, size = await reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2), "big")
                for frame in session.receive(await reader.readexactly(size)):
                    if isinstance(frame, spdy.Data):
                        found[frame.stream] += frame.payload
                        ended |= {frame.stream} if frame.end else set()
        return found

    yield send, said
    writer.close()
