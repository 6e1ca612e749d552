"""The lab's HTTP server: the application that the notebooks publish.

Routes
    /healthz      `ok` and a newline
    /getVersion   the version, from VERSION or the image's tag
    /metrics      Prometheus text: requests, and a histogram of their latency in seconds
    /             the greeting: greeting.conf out of any mounted folder, else GREETING
    /headers      the received headers as JSON
    /call?url=U   asks U and answers with what it said; without `url` the environment's UPSTREAM is asked

Settings, from the environment; a header or a query parameter of a request goes before them
    DELAY_MS      delay_ms    x-delay-ms      wait so long before an answer (milliseconds)
    FAIL_RATE     fail_rate   x-fail-rate     answer 503 to this share of requests, 0 to 1
The delay and the failures touch every route but /metrics.

HOST and PORT say where to listen.  An upstream call passes x-request-id, b3, x-b3-*, traceparent,
tracestate and baggage on, and goes through http_proxy where it is set.  On SIGTERM it stops accepting, ends
what runs, exits 0.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httptools

VERSION = "v1.3"
DRAIN_S = 10.0
UPSTREAM_TIMEOUT_S = 10.0
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PASSED_ON = ("x-request-id", "b3", "traceparent", "tracestate", "baggage")
TEXT = "text/plain; charset=utf-8"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
REASONS |= {413: "Content Too Large", 502: "Bad Gateway", 503: "Service Unavailable"}
LARGEST_BODY = 2**20
PATHS = ("/", "/healthz", "/getVersion", "/metrics", "/headers", "/call")  # others are one row of the metrics


class Metrics:
    """Counts of requests by path and code, and the histogram of latency by path."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.buckets: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}

    def observe(self, path: str, code: int, seconds: float) -> None:
        self.requests[path, code] = self.requests.get((path, code), 0) + 1
        counts = self.buckets.setdefault(path, [0] * (len(BUCKETS_S) + 1))
        counts[next((i for i, bound in enumerate(BUCKETS_S) if seconds <= bound), len(BUCKETS_S))] += 1
        self.sums[path] = self.sums.get(path, 0.0) + seconds

    def text(self) -> str:
        """Prometheus' text format 0.0.4."""
        lines = ["# HELP http_requests_total Requests answered.", "# TYPE http_requests_total counter"]
        for (path, code), count in sorted(self.requests.items()):
            lines.append(f'http_requests_total{{path="{path}",code="{code}"}} {count}')
        lines.append("# HELP http_request_duration_seconds Time from request to answer.")
        lines.append("# TYPE http_request_duration_seconds histogram")
        for path, counts in sorted(self.buckets.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'http_request_duration_seconds_bucket{{path="{path}",le="{bound}"}} {total}')
            lines.append(f'http_request_duration_seconds_sum{{path="{path}"}} {self.sums[path]:.6f}')
            lines.append(f'http_request_duration_seconds_count{{path="{path}"}} {total}')
        return "\n".join(lines) + "\n"


class Settings:
    """What the environment says, read once; the greeting is read from its file at each request."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.delay_s = float(env.get("DELAY_MS", "0")) / 1000
        self.fail_rate = float(env.get("FAIL_RATE", "0"))
        self.version = env.get("VERSION", VERSION)
        self.greeting = env.get("GREETING", "Welcome to gohttpserver")
        self.upstream = env.get("UPSTREAM", "")
        self.proxy = env.get("http_proxy", "")
        folders = json.loads(env.get("MESHLIB_MOUNTS", "{}")).values()
        files = [Path(each) / "greeting.conf" for each in folders]
        self.greeting_file = next((each for each in files if each.exists()), None)


class Server:
    """State that all connections share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.connections: set[Connection] = set()
        self.stopping = False

    def page(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Status, body and media type of a route that needs no upstream."""
        if path == "/healthz":
            return 200, b"ok\n", TEXT
        if path == "/getVersion":
            return 200, f"{self.settings.version}\n".encode(), TEXT
        if path == "/metrics":
            return 200, self.metrics.text().encode(), "text/plain; version=0.0.4; charset=utf-8"
        if path == "/":
            file = self.settings.greeting_file
            text = file.read_text() if file and file.exists() else self.settings.greeting
            return 200, f"{text.rstrip()}\n".encode(), TEXT
        if path == "/headers":
            return 200, json.dumps(headers, indent=1).encode() + b"\n", "application/json"
        return 404, b"404 page not found\n", TEXT


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; requests on it are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.pending: list[tuple[str, str, dict[str, str], bool, float]] = []
        self.task: asyncio.Task[None] | None = None
        self.url = b""
        self.headers: dict[str, str] = {}
        self.body = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.peer = str((transport.get_extra_info("peername") or ("-",))[0])
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError:
            self.send(400, b"Bad Request\n", TEXT, close=True)

    # -- called by the parser

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", {}, 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]},{text}" if key in self.headers else text

    def on_body(self, body: bytes) -> None:
        self.body += len(body)

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        target, keep = self.url.decode("latin-1"), self.parser.should_keep_alive()
        self.pending.append((method, target, self.headers, keep, time.perf_counter()))
        if self.task is None:
            self.answer_pending()

    # -- answering

    def answer_pending(self) -> None:
        while self.pending:
            method, target, headers, keep, began = self.pending.pop(0)
            parts = urlsplit(target)
            query = parse_qs(parts.query) if parts.query else {}
            delay_s, fail = self.trouble(headers, query)
            if delay_s or parts.path == "/call":
                waiting = self.slow(method, target, parts.path, headers, query, keep, began, delay_s, fail)
                self.task = asyncio.get_running_loop().create_task(waiting)
                return
            self.finish(
                method,
                target,
                parts.path,
                headers,
                keep,
                began,
                self.quick(method, parts.path, headers, fail),
            )

    def trouble(self, headers: Mapping[str, str], query: Mapping[str, list[str]]) -> tuple[float, bool]:
        """The delay in seconds, and whether this request is to fail."""
        settings = self.server.settings
        delay_s, rate = settings.delay_s, settings.fail_rate
        try:
            if asked := headers.get("x-delay-ms") or next(iter(query.get("delay_ms", [])), None):
                delay_s = float(asked) / 1000
            if asked := headers.get("x-fail-rate") or next(iter(query.get("fail_rate", [])), None):
                rate = float(asked)
        except ValueError:
            return 0.0, False
        return max(delay_s, 0.0), rate > 0 and random.random() < rate

    def quick(self, method: str, path: str, headers: Mapping[str, str], fail: bool) -> tuple[int, bytes, str]:
        if self.body > LARGEST_BODY:
            return 413, b"body too large\n", TEXT
        if path != "/metrics" and fail:
            return 503, b"failing as asked\n", TEXT
        if method not in ("GET", "HEAD", "POST"):
            return 405, b"method not allowed\n", TEXT
        return self.server.page(path, headers)

    async def slow(
        self,
        method: str,
        target: str,
        path: str,
        headers: dict[str, str],
        query: dict[str, list[str]],
        keep: bool,
        began: float,
        delay_s: float,
        fail: bool,
    ) -> None:
        if delay_s and path != "/metrics":
            await asyncio.sleep(delay_s)
        if path == "/call" and not fail:
            url = next(iter(query.get("url", [])), self.server.settings.upstream)
            answer = await call(url, headers, self.server.settings.proxy)
        else:
            answer = self.quick(method, path, headers, fail)
        self.task = None
        self.finish(method, target, path, headers, keep, began, answer)
        self.answer_pending()

    def finish(
        self,
        method: str,
        target: str,
        path: str,
        headers: Mapping[str, str],
        keep: bool,
        began: float,
        answer: tuple[int, bytes, str],
    ) -> None:
        code, body, media = answer
        close = not keep or self.server.stopping
        self.send(code, body, media, close=close, head=method == "HEAD")
        seconds = time.perf_counter() - began
        self.server.metrics.observe(path if path in PATHS else "other", code, seconds)
        request_id = headers.get("x-request-id", "-")
        sys.stdout.write(
            f'{self.peer} "{method} {target}" {code} {len(body)} {seconds * 1000:.3f}ms {request_id}\n'
        )

    def send(self, code: int, body: bytes, media: str, *, close: bool, head: bool = False) -> None:
        if self.transport.is_closing():
            return
        end = "Connection: close\r\n" if close else ""
        first = f"HTTP/1.1 {code} {REASONS[code]}\r\nContent-Type: {media}\r\n"
        self.transport.write(
            f"{first}Content-Length: {len(body)}\r\n{end}\r\n".encode() + (b"" if head else body)
        )
        if close:
            self.transport.close()


async def call(url: str, headers: Mapping[str, str], proxy: str) -> tuple[int, bytes, str]:
    """Ask an upstream by GET, passing trace headers on; 400 for no http URL, 502 when it fails."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return 400, b"need url=http://host[:port]/path or UPSTREAM\n", TEXT
    passed = {k: v for k, v in headers.items() if k in PASSED_ON or k.startswith("x-b3-")}
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    via = urlsplit(proxy) if proxy else parts
    request = "".join(
        [
            f"GET {f'http://{parts.netloc}{path}' if proxy else path} HTTP/1.1\r\nHost: {parts.netloc}\r\n",
            *(f"{name}: {value}\r\n" for name, value in passed.items()),
            "Accept: */*\r\nConnection: close\r\n\r\n",
        ]
    )
    answer = Answer()
    try:
        async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(via.hostname, via.port or 80)
            writer.write(request.encode("latin-1"))
            while not answer.done and (data := await reader.read(65536)):
                answer.parser.feed_data(data)
            writer.close()
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        return 502, f"upstream {url}: {error or type(error).__name__}\n".encode(), TEXT
    status = answer.parser.get_status_code()
    code = 200 if 200 <= status < 300 else 502
    return code, f"upstream {url} said {status}\n".encode() + bytes(answer.body), TEXT


class Answer:
    """Collects an upstream's answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.done = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True


async def serve(env: Mapping[str, str]) -> None:
    """Listen until SIGTERM or SIGINT, then drain."""
    server = Server(Settings(env))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = await loop.create_server(
        lambda: Connection(server), env.get("HOST", "127.0.0.1"), int(env.get("PORT", "8080")), backlog=1024
    )
    host, port = listener.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{port}", flush=True)
    await stop.wait()
    server.stopping = True
    listener.close()
    deadline = time.monotonic() + DRAIN_S
    while any(each.task or each.pending for each in server.connections) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    for each in list(server.connections):
        each.transport.close()
    print("stopped", flush=True)


def main() -> None:
    """Run until told to stop."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(os.environ))
    else:
        uvloop.run(serve(os.environ))


if __name__ == "__main__":
    main()
