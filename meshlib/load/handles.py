"""libcurl handles set up for a plan: everything that stays the same from request to request is set once."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult

import pycurl

from meshlib.load.http1 import AGENT, DEFAULT_PORTS
from meshlib.load.plan import Plan, Request

Opened = Callable[[int, int], int]  # socket, purpose → SOCKOPT_OK


def multi(plan: Plan) -> pycurl.CurlMulti:
    """The stack that runs all transfers of a worker over `plan.connections` connections."""
    made = pycurl.CurlMulti()
    made.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, plan.connections)
    made.setopt(pycurl.M_MAXCONNECTS, plan.connections)
    if plan.http == "2":
        made.setopt(pycurl.M_PIPELINING, 2)  # CURLPIPE_MULTIPLEX
        made.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, plan.streams)
    return made


def handle(plan: Plan, opened: Opened) -> pycurl.Curl:
    """A handle with the plan's connection, TLS and protocol options. Certificates are always verified.

    `opened` hears of each socket that the handle opens.
    """
    made = pycurl.Curl()
    put = made.setopt
    put(pycurl.NOSIGNAL, 1)
    put(pycurl.WRITEFUNCTION, len)  # takes every chunk and says so, without leaving C
    put(pycurl.SOCKOPTFUNCTION, opened)
    put(pycurl.NOPROXY, "*")
    put(pycurl.TIMEOUT_MS, max(1, round(plan.timeout_s * 1000)))
    put(pycurl.CONNECTTIMEOUT_MS, max(1, round(plan.timeout_s * 1000)))
    put(pycurl.USERAGENT, AGENT)
    put(pycurl.TCP_NODELAY, 1)
    if plan.cacert:
        put(pycurl.CAINFO, plan.cacert)
        made.unsetopt(pycurl.CAPATH)  # else the system's authorities would be trusted as well
    if plan.cert and plan.key:
        put(pycurl.SSLCERT, plan.cert)
        put(pycurl.SSLKEY, plan.key)
    if plan.resolve:
        put(pycurl.RESOLVE, list(plan.resolve))
    if plan.http == "2":
        put(pycurl.PIPEWAIT, 1)
    if not plan.keepalive:
        put(pycurl.FRESH_CONNECT, 1)
        put(pycurl.FORBID_REUSE, 1)
        put(pycurl.SSL_SESSIONID_CACHE, 0)  # a whole handshake each, as a client that was never here makes
    return made


def keep_to(made: pycurl.Curl, plan: Plan, connection: int) -> None:
    """Give connection number `connection` a name of its own for each overridden address.

    libcurl looks for a free connection among all that go to one name, for every request: with 64 of them a
    sixth of what a request costs. What is sent, the name for TLS and the verification do not change.
    """
    names, ways = [], []
    for entry in plan.resolve:
        host, port, address = entry.split(":", 2)
        names.append(f"connection-{connection}.{host}:{port}:{address}")
        ways.append(f"{host}:{port}:connection-{connection}.{host}:{port}")
    if names:
        made.setopt(pycurl.RESOLVE, names)
        made.setopt(pycurl.CONNECT_TO, ways)


def dial_only(made: pycurl.Curl, url: SplitResult) -> None:
    """Let the handle open a connection to the URL's host and port, and no more: no TLS, no request."""
    port = url.port or DEFAULT_PORTS[url.scheme]
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    made.setopt(pycurl.URL, f"http://{host}:{port}/")
    made.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    made.setopt(pycurl.CONNECT_ONLY, 1)


def aim(made: pycurl.Curl, plan: Plan, request: Request) -> None:
    """Point the handle at one request of the mix: URL, method, body and headers, but for trace headers."""
    put = made.setopt
    put(pycurl.URL, request.url)
    put(pycurl.HTTPHEADER, headers_of(request))
    if plan.http == "1.1":
        put(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    elif request.url.startswith("https:"):
        put(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    else:
        put(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE)
    put(pycurl.HTTPGET, 1)
    put(pycurl.NOBODY, 0)
    method = request.method.upper()
    if request.body is not None:
        put(pycurl.POST, 1)
        put(pycurl.POSTFIELDSIZE_LARGE, len(request.body))
        put(pycurl.COPYPOSTFIELDS, request.body)
    elif method == "HEAD":
        put(pycurl.NOBODY, 1)
    else:
        put(pycurl.HTTPGET, 1)
    put(pycurl.CUSTOMREQUEST, method)


def headers_of(request: Request) -> list[str]:
    """The request's own headers; `Expect: 100-continue` is switched off, it would cost a round trip."""
    return [*request.headers, "Expect:"] if request.body is not None else list(request.headers)
