"""A gateway and a sidecar in real Envoy, before backends that say what reached them.

One Envoy a proxy lives for the whole run; each configuration is delivered as istiod delivers it, by renamed
files, and counts as applied when Envoy's own admin reports every version.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from meshlib.lab.istiod.delivery import Delivery
from meshlib.lab.istiod.files import top_source
from meshlib.lab.istiod.translate import Paths, Proxy, Resources, World, proxies, translate
from meshlib.wait import NotYet, until
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.envoys import BINARY, Authority, secret, wanted

Obj = dict[str, Any]
HERE = "127.0.0.1"
INSIDE = "127.0.0.2"
OPTIONS = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "--drain-time-s", "0"]
GATEWAY_ID = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"


def free_ports(count: int) -> list[int]:
    """Ports that are free now, outside the range from which the system itself draws."""
    found: list[int] = []
    while len(found) < count:
        number = random.randrange(20000, 30000)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if number not in found and tried.connect_ex((HERE, number)) != 0:
                found.append(number)
    return found


class Backend:
    """An HTTP server that answers with what it was asked, and keeps count."""

    def __init__(self, name: str, address: str = HERE, port: int = 0) -> None:
        self.name = name
        self.asked: list[Obj] = []
        self.fail_next = 0
        self.slow_s = 0.0
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one segment: else each answer waits for a delayed acknowledgement.
            wbufsize = -1

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                self.rfile.read(length)
                seen = {
                    "backend": backend.name,
                    "method": self.command,
                    # http.server itself shortens a path that starts with two slashes.
                    "path": self.requestline.split()[1],
                    "headers": {key.lower(): value for key, value in self.headers.items()},
                }
                backend.asked.append(seen)
                time.sleep(backend.slow_s)
                status = 200
                if backend.fail_next:
                    backend.fail_next -= 1
                    status = 503
                body = json.dumps(seen).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-backend", backend.name)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                """Nothing: the tests look at `asked`."""

        self.server = ThreadingHTTPServer((address, port), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Envoy:
    """One Envoy process that reads its resources from a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self.delivery = Delivery(self.folder)
        self.admin_file = folder / f"{name}.admin"
        self.process: subprocess.Popen[bytes] | None = None
        self.number = 0
        (admin,) = free_ports(1)
        self.admin = admin
        self.bootstrap = {
            "node": {"id": f"router~{HERE}~{name}.ns~ns.svc.cluster.local", "cluster": name},
            "admin": {"address": {"socket_address": {"address": HERE, "port_value": admin}}},
            "dynamic_resources": {
                "lds_config": top_source(self.folder, "lds"),
                "cds_config": top_source(self.folder, "cds"),
            },
        }
        self.log = (folder / f"{name}.log").open("wb")

    def start(self) -> None:
        file = self.folder / "bootstrap.json"
        file.write_text(json.dumps(self.bootstrap))
        self.process = subprocess.Popen(
            [str(BINARY), "-c", str(file), *OPTIONS],
            stdout=self.log,
            stderr=self.log,
        )

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.log.close()

    def ask_admin(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HERE, self.admin, timeout=5)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def missing(self) -> str:
        """What Envoy has not taken yet, or has refused; empty when it has everything."""
        try:
            dump = self.ask_admin("/config_dump")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"admin does not answer: {error}"
        versions = self.delivery.versions
        routes: dict[str, str] = {}
        for part in dump["configs"]:
            kind = part["@type"].rpartition(".")[2]
            for item in part.get("dynamic_listeners", []):
                if "error_state" in item:
                    raise AssertionError(f"Envoy refused {item['name']}: {item['error_state']}")
            if kind == "ClustersConfigDump" and part.get("version_info") != versions["cds"].get(""):
                return f"clusters at {part.get('version_info')}"
            if kind == "ListenersConfigDump" and part.get("version_info") != versions["lds"].get(""):
                return f"listeners at {part.get('version_info')}: {self._rejected()}"
            for item in part.get("dynamic_route_configs", []):
                routes[item["route_config"].get("name", "")] = item.get("version_info", "")
        for name, version in versions["rds"].items():
            if routes.get(name, version) != version:
                return f"routes {name} at {routes.get(name)}: {self._rejected()}"
        return ""

    def _rejected(self) -> str:
        self.log.flush()
        lines = Path(self.log.name).read_text().splitlines()
        return " ".join(line for line in lines[-3:] if "reject" in line or "rror" in line)

    def apply(self, resources: Resources, secrets: dict[str, Obj]) -> None:
        """Delivers and waits until Envoy has it all."""
        self.number += 1
        self._mark(resources)
        self.delivery.push(wanted(resources, secrets), str(self.number))
        if self.process is None:
            self.start()
        until(self._taken, "Envoy to take the files", timeout_s=20, interval_s=0.005, max_interval_s=0.05)
        self.delivery.sweep(str(self.number))

    def _mark(self, resources: Resources) -> None:
        """Makes every set differ from the last: Envoy does not report a version that changes nothing."""
        name = f"marker-{self.number}"
        resources.clusters[name] = {"name": name, "type": "STATIC", "connect_timeout": "1s"}
        for key, route in resources.routes.items():
            host = {"name": name, "domains": [f"{name}.test"]}
            resources.routes[key] = {**route, "virtual_hosts": [*route["virtual_hosts"], host]}

    def _taken(self) -> None:
        if self.process is None or self.process.poll() is not None:
            raise AssertionError(f"Envoy has ended: {Path(self.log.name).read_text()[-2000:]}")
        if reason := self.missing():
            raise NotYet(reason)
        # Connections that a caller keeps stay with the listener that they came to, until it is drained.
        stats = self.ask_admin("/stats?format=json&filter=listener_manager.total_.*draining")["stats"]
        if draining := [stat for stat in stats if stat.get("value")]:
            raise NotYet(f"still draining: {draining}")


@dataclass(frozen=True)
class Ask:
    """A request and what must come of it.

    via: `http`, `https` (the gateway's ports 80 and 443), `direct` (plain to the sidecar's port), `proxy`
    (the sidecar's outbound proxy), or a declared port of the gateway; to: the backend that must answer
    seen: headers at the backend (None: absent); gets: headers of the answer; body: a part of it
    refused: no answer at all must come
    """

    path: str = "/"
    host: str = "shop.example"
    method: str = "GET"
    headers: Obj = field(default_factory=dict)
    via: str | int = "http"
    sni: str | None = None
    certificate: str = ""
    tls: tuple[Any, Any] | None = None
    status: int = 200
    to: str | None = None
    seen_path: str | None = None
    seen: Obj = field(default_factory=dict)
    gets: Obj = field(default_factory=dict)
    body: str | None = None
    refused: bool = False
    least_s: float = 0.0


@dataclass(frozen=True)
class Case:
    """A configuration and the requests that it is asked; `pods` replaces the base's pods of the same name."""

    name: str
    objects: list[Obj]
    asks: list[Ask]


CREDENTIALS = {"shop-cert": ["shop.example", "*.shop.example"], "other-cert": ["other.example"]}


class Rig:
    """The gateway, the sidecar of service `secure`, and the backends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.backends = {name: Backend(name) for name in ("v1", "v2", "other", "third")}
        numbers = free_ports(9)
        self.ports = dict(zip((8080, 8443, 31400, 15443, 9090), numbers[:5], strict=True))
        self.secure_port, self.inbound, self.outbound = numbers[5:8]
        self.backends["secure"] = Backend("secure", INSIDE, self.secure_port)
        self.gateway = Envoy(folder, "gateway")
        self.sidecar = Envoy(folder, "sidecar")
        self.issued: dict[str, Obj] = {}

    def close(self) -> None:
        for part in (self.gateway, self.sidecar, *self.backends.values()):
            part.close()

    def base(self) -> list[Obj]:
        """The pods, Services and EndpointSlices that every configuration has."""
        web = [o.app_pod(f"web-{v}", "shop", HERE, {"app": "web", "version": v}) for v in ("v1", "v2")]
        secure = o.proxy_pod(
            "secure-1",
            "shop",
            HERE,
            {"app": "secure", "security.istio.io/tlsMode": "istio"},
            role="sidecar",
            inside=INSIDE,
            account="secure",
            app_ports=[{"name": "http", "containerPort": 8080}],
            ports={8080: self.secure_port, 15006: self.inbound, 15001: self.outbound},
        )
        found = [
            o.gateway_pod(HERE, ports=self.ports),
            o.gateway_service(),
            *web,
            secure,
            o.service("web", "shop", {"app": "web"}, [("http", 80, 8080)]),
            o.service("other", "shop", {"app": "other"}, [("http", 80, 8080)]),
            o.service("third", "else", {"app": "third"}, [("http", 80, 8080), ("http-alt", 8000, 8080)]),
            o.service("empty", "shop", {"app": "empty"}, [("http", 80, 8080)]),
            o.service("secure", "shop", {"app": "secure"}, [("http", 80, 8080)]),
            o.endpoint_slice("secure", "shop", [("http", self.secure_port)], [secure]),
        ]
        for pod, version in zip(web, ("v1", "v2"), strict=True):
            piece = o.endpoint_slice("web", "shop", [("http", self.backends[version].port)], [pod])
            piece["metadata"]["name"] = f"web-{version}"
            found.append(piece)
        for name, namespace, ports in (("other", "shop", ["http"]), ("third", "else", ["http", "http-alt"])):
            pod = o.app_pod(f"{name}-1", namespace, HERE, {"app": name})
            number = self.backends[name].port
            found += [pod, o.endpoint_slice(name, namespace, [(port, number) for port in ports], [pod])]
        return found

    def _secrets(self, proxy: Proxy, resources: Resources) -> dict[str, Obj]:
        identity = f"spiffe://cluster.local/ns/{proxy.namespace}/sa/{proxy.service_account}"
        found = {}
        for name, reference in resources.secrets.items():
            names = [identity] if reference.kind == "workload" else CREDENTIALS.get(reference.name, [])
            key = f"{name} {names}"
            if key not in self.issued:
                self.issued[key] = secret(name, reference, self.authority, *names)
            found[name] = self.issued[key]
        return found

    def apply(self, objects: list[Obj]) -> None:
        """Makes the base with these objects over it live in both Envoys."""
        world = World()
        for obj in [*self.base(), *objects]:
            world.put(obj)
        for proxy in proxies(world):
            envoy = self.gateway if proxy.role == "router" else self.sidecar
            resources = translate(world, proxy, Paths(str(envoy.folder)))
            envoy.apply(resources, self._secrets(proxy, resources))

    def _context(self, ask: Ask) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem)
        context.check_hostname = ask.sni != ""
        if ask.tls:
            context.minimum_version, context.maximum_version = ask.tls
        if ask.certificate:
            file = self.folder / f"{abs(hash(ask.certificate))}.pem"
            if not file.exists():
                chain, key = self.authority.issue(ask.certificate)
                file.write_text(chain + key)
                file.chmod(0o600)
            context.load_cert_chain(file)
        return context

    def send(self, ask: Ask) -> tuple[int, dict[str, str], str]:
        """The answer to a request: status, headers, body.  Raises OSError or HTTPException without one."""
        known = {"direct": (HERE, self.secure_port), "proxy": (INSIDE, self.outbound)}
        declared = {"http": 8080, "https": 8443}.get(str(ask.via), ask.via)
        address = known.get(str(ask.via)) or (HERE, self.ports[int(declared)])
        path = f"http://{ask.host}{ask.path}" if ask.via == "proxy" else ask.path
        with socket.create_connection(address, timeout=10) as plain:
            stream: socket.socket = plain
            if ask.via == "https":
                name = ask.host.partition(":")[0] if ask.sni is None else ask.sni or None
                stream = self._context(ask).wrap_socket(plain, server_hostname=name)
            connection = http.client.HTTPConnection(address[0], address[1])
            connection.sock = stream
            connection.putrequest(ask.method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("host", ask.host)
            for key, value in ask.headers.items():
                connection.putheader(key, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read().decode()
            headers = {key.lower(): value for key, value in answer.getheaders()}
            connection.close()
        return answer.status, headers, body

    def check(self, ask: Ask) -> None:
        """Sends a request and asserts what came of it."""
        begun = time.monotonic()
        try:
            status, headers, body = self.send(ask)
        except (OSError, http.client.HTTPException) as error:
            if not ask.refused:
                raise AssertionError(f"{ask}: no answer") from error
            return
        assert not ask.refused, f"{ask}: answered {status} {headers} {body}"
        assert status == ask.status, f"{ask}: {status} {headers} {body[:300]}"
        # Envoy counts from the start of its loop's turn, so a timer may end some milliseconds early.
        took_s = time.monotonic() - begun
        assert took_s >= ask.least_s / 2, f"{ask}: took {took_s:.3f} s"
        for key, value in ask.gets.items():
            assert headers.get(key) == value, f"{ask}: {key} is {headers.get(key)!r} of {headers}"
        if ask.body is not None:
            assert ask.body in body, f"{ask}: {body[:300]}"
        if ask.to is None:
            return
        seen = json.loads(body)
        assert seen["backend"] == ask.to, f"{ask}: answered by {seen['backend']}"
        if ask.seen_path is not None:
            assert seen["path"] == ask.seen_path, f"{ask}: backend saw {seen['path']}"
        for key, value in ask.seen.items():
            assert seen["headers"].get(key) == value, f"{ask}: backend saw {key} {seen['headers'].get(key)!r}"
