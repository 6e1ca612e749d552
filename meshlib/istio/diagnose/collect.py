"""The rim: read what the rules need, through the API server only, and write nothing.

Of Secrets only those are looked at that a Gateway names.  Data is read only where meshlib made the Secret,
and a private key is compared with its certificate and dropped at once; of others only the metadata is asked
for, and the certificate comes from the proxy that serves it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshlib import wait
from meshlib.errors import ClusterError, WaitTimeout
from meshlib.istio import proxies, proxyconfig
from meshlib.istio.diagnose.model import Credential, Obj, Snapshot, gateway_servers, has_proxy, labels, space
from meshlib.kube.apply import is_ours
from meshlib.kube.client import Cluster

KINDS: dict[str, str] = {
    "Namespace": "namespaces",
    "Pod": "pods",
    "Service": "services",
    "EndpointSlice": "endpointslices.discovery.k8s.io",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "Gateway": "gateways.networking.istio.io",
    "VirtualService": "virtualservices.networking.istio.io",
    "DestinationRule": "destinationrules.networking.istio.io",
    "ServiceEntry": "serviceentries.networking.istio.io",
    "PeerAuthentication": "peerauthentications.security.istio.io",
    "AuthorizationPolicy": "authorizationpolicies.security.istio.io",
    "RequestAuthentication": "requestauthentications.security.istio.io",
    "Telemetry": "telemetries.telemetry.istio.io",
}
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
SETTLE_S = 2.0


def collect(cluster: Cluster, root: str = "istio-system", url: str = "") -> Snapshot:
    """A snapshot of the cluster; what may not be read is named in `unread`, never guessed."""
    objects: dict[str, tuple[Obj, ...]] = {}
    unread: dict[str, str] = {}
    for kind, resource in KINDS.items():
        try:
            objects[kind] = tuple(cluster.list(resource))
        except ClusterError as error:
            if error.status == 0:
                raise
            if error.status != 404:  # a kind that is not served has no objects
                unread[kind] = error.message
    try:
        objects["ConfigMap"] = tuple(cluster.list("configmaps", root))
    except ClusterError as error:
        unread["ConfigMap"] = error.message
    version = str(cluster.call("GET", "/version")["gitVersion"])
    first = Snapshot(objects, version, root, unread=unread, url=url)
    gateways = [pod for pod in first.all("Pod") if _is_gateway(first, pod)]
    return Snapshot(
        objects,
        version,
        root,
        credentials=dict(_credentials(cluster, first)),
        syncz=_syncz(cluster, first),
        started=dict(_started(cluster, gateways)),
        unread=unread,
        url=url,
    )


def _is_gateway(snapshot: Snapshot, pod: Obj) -> bool:
    return has_proxy(pod) and any(pod in snapshot.gateway_pods(each) for each in snapshot.all("Gateway"))


def _credentials(cluster: Cluster, snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], Credential]]:
    wanted: dict[tuple[str, str], str] = {}
    for gateway in snapshot.all("Gateway"):
        pods = snapshot.gateway_pods(gateway)
        for _, server in gateway_servers(gateway):
            if name := (server.get("tls") or {}).get("credentialName"):
                for pod in pods:
                    wanted[(space(pod), name)] = str(pod["metadata"]["name"])
                    if server["tls"].get("mode") != "SIMPLE":
                        wanted[(space(pod), f"{name}-cacert")] = str(pod["metadata"]["name"])
                wanted.setdefault((space(gateway), name), "")
    for (namespace, name), pod_name in wanted.items():
        yield (namespace, name), _credential(cluster, namespace, name, pod_name)


def _credential(cluster: Cluster, namespace: str, name: str, pod: str) -> Credential:
    path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
    about = cluster.send("GET", path, accept=METADATA)
    if about.status == 404:
        return Credential("missing")
    if about.status != 200:
        return Credential("denied", reason=about.json().get("message", str(about.status)))
    if not is_ours(about.json()):
        return Credential("foreign", certificate=_served(cluster, namespace, pod, name))
    try:
        data = cluster.get("secrets", name, namespace).get("data") or {}
    except ClusterError as error:
        return Credential("denied", reason=error.message)
    return _judged(data)


def _judged(data: dict[str, str]) -> Credential:
    """Pure: the keys, the certificate and whether the private key belongs to it."""
    keys = tuple(sorted(data))
    try:
        certificate, key = (
            base64.b64decode(data.get(new) or data.get(old) or "", validate=True)
            for new, old in (("tls.crt", "cert"), ("tls.key", "key"))
        )
    except binascii.Error as error:
        return Credential("read", keys, pair=f"its data is not base64: {error}")
    if not certificate or not key:
        return Credential("read", keys)
    text = certificate.decode(errors="replace")
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError as error:
        return Credential("read", keys, text, f"tls.crt is no certificate: {error}")
    try:
        own = serialization.load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError):
        return Credential("read", keys, text, "tls.key is no private key")
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    same = public.public_bytes(*form) == own.public_bytes(*form)
    return Credential("read", keys, text, "" if same else "tls.key does not belong to tls.crt")


def _served(cluster: Cluster, namespace: str, pod: str, name: str) -> str:
    """The certificate that a gateway's proxy serves from a Secret; "" where it cannot be asked."""
    if not pod:
        return ""
    try:
        dump = proxies.admin(cluster, namespace, pod, "/config_dump?resource=dynamic_active_secrets")
    except ClusterError:
        return ""
    for each in dump.get("configs", []):
        if each.get("name") == f"kubernetes://{name}":
            chain = each["secret"].get("tls_certificate", {}).get("certificate_chain", {})
            return proxyconfig.pem(chain)
    return ""


def _started(cluster: Cluster, pods: list[Obj]) -> Iterator[tuple[str, Obj]]:
    for pod in pods:
        name = str(pod["metadata"]["name"])
        try:
            info = proxies.admin(cluster, space(pod), name, "/server_info")
        except ClusterError:  # a proxy that does not answer says nothing of its start
            continue
        config = info.get("node", {}).get("metadata", {}).get("PROXY_CONFIG")
        if isinstance(config, dict):
            yield f"{name}.{space(pod)}", config


def _syncz(cluster: Cluster, snapshot: Snapshot) -> tuple[Obj, ...] | None:
    """istiod's view of the proxies; an update that is just on its way is waited for."""
    pods = [pod for pod in snapshot.all("Pod", snapshot.root) if labels(pod).get("app") == "istiod"]
    seen: list[Obj] = []

    def settled() -> tuple[Obj, ...]:
        seen[:] = proxies.syncz(cluster, snapshot.root)
        if late := [each["proxy"] for each in seen if proxies.stale(each)]:
            raise wait.NotYet(f"{', '.join(late)} is not in sync")
        return tuple(seen)

    if not pods:
        return None
    try:
        return wait.until(settled, "the proxies to take what they were sent", timeout_s=SETTLE_S)
    except WaitTimeout:
        return tuple(seen)
    except ClusterError:
        return None
