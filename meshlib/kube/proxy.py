"""Ways into the cluster through its API server: a service's HTTP, and a local port for a port of a pod."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshlib.errors import ClusterError
from meshlib.kube.client import Cluster

CHUNK = 65536


@dataclass(frozen=True)
class ServiceProxy:
    """A Service's HTTP port behind `/api/v1/namespaces/<ns>/services/<name>:<port>/proxy`."""

    cluster: Cluster
    namespace: str
    service: str
    port: str

    @property
    def base_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{self.port}/proxy"

    def get(self, path: str, params: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        """GET a path of the service; the status and body are the service's, or the API server's 503 when it
        has no endpoints."""
        answer = self.cluster.send("GET", f"{self.base_path}/{path.lstrip('/')}", params=params, accept="*/*")
        return answer.status, answer.body


@contextlib.contextmanager
def forward(cluster: Cluster, namespace: str, pod: str, port: int) -> Iterator[str]:
    """`kubectl port-forward pod/<pod> :<port>` as a context: yields `127.0.0.1:<free port>`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=_accept,
            args=(listener, cluster, namespace, pod, port),
            name=f"forward {pod}:{port}",
            daemon=True,
        )
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=2)


def _accept(listener: socket.socket, cluster: Cluster, namespace: str, pod: str, port: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:  # the context ended and shut the listener
            return
        try:
            far = cluster.pod_socket(pod, namespace, port)
        except ClusterError:  # the caller sees its connection closed; the next one tries again
            near.close()
            continue
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
    except OSError:  # either side closed; the other is told below
        pass
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
