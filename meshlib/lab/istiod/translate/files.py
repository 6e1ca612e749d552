"""The files of a proxy: each resource as the `DiscoveryResponse` that Envoy reads from a path.

Source: Envoy's `path_config_source`; the version is a digest of the content, so that it changes only with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable

from meshlib.lab.istiod.translate.model import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTE,
    SECRET,
    Obj,
    Problem,
    Resources,
    SecretReference,
)
from meshlib.lab.istiod.translate.names import Paths
from meshlib.lab.istiod.translate.world import World

_CERTIFICATE = (("tls.crt", "tls.key"), ("cert", "key"))
_CA = ("ca.crt", "cacert")


def response(type_url: str, resources: Iterable[Obj]) -> Obj:
    """A `DiscoveryResponse`."""
    typed = [{"@type": type_url, **resource} for resource in resources]
    digest = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "type_url": type_url, "resources": typed}


def files(resources: Resources, paths: Paths) -> dict[str, Obj]:
    """Path → content of every file but the secrets', in the order in which they must be written.

    What refers comes after what it refers to: endpoints, clusters, routes, listeners.
    """
    found = {paths.endpoints(name): response(ENDPOINTS, [item]) for name, item in resources.endpoints.items()}
    found[paths.clusters] = response(CLUSTER, resources.clusters.values())
    found |= {paths.route(name): response(ROUTE, [item]) for name, item in resources.routes.items()}
    found[paths.listeners] = response(LISTENER, resources.listeners.values())
    return found


def secret_file(world: World, name: str, reference: SecretReference) -> tuple[Obj, Problem | None]:
    """The file of an SDS name that stands for a Secret: empty, with the reason, where the Secret will not do.

    An empty answer lets the listener open; handshakes then fail, as they do at a real gateway.
    """
    if reference.kind == "certificate":
        content, reason = _certificate(world, reference)
    elif reference.kind == "ca":
        content, reason = _ca(world, reference)
    else:
        raise ValueError(f"{name} does not stand for a Secret but for {reference.kind}")
    if content is None:
        where = f"Secret {reference.namespace}/{reference.name}"
        return response(SECRET, []), Problem(where, reason)
    return response(SECRET, [{"name": name, **content}]), None


def _data(world: World, namespace: str, name: str) -> dict[str, bytes] | None:
    found = world.get("Secret", namespace, name)
    if found is None:
        return None
    decoded = {}
    for key, value in (found.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value or "", validate=True)
        except binascii.Error:
            continue
    return decoded


def _inline(content: bytes) -> Obj:
    return {"inline_bytes": base64.b64encode(content).decode()}


def _certificate(world: World, reference: SecretReference) -> tuple[Obj | None, str]:
    data = _data(world, reference.namespace, reference.name)
    if data is None:
        return None, "there is no such Secret in the namespace of the gateway's pods"
    for chain, key in _CERTIFICATE:
        if data.get(chain) and data.get(key):
            pair = {"certificate_chain": _inline(data[chain]), "private_key": _inline(data[key])}
            return {"tls_certificate": pair}, ""
    return None, "it has neither tls.crt and tls.key nor cert and key"


def _ca(world: World, reference: SecretReference) -> tuple[Obj | None, str]:
    """The CA of a credential: from the Secret `<name>-cacert`, else from the credential's own Secret."""
    for name in (f"{reference.name}-cacert", reference.name):
        data = _data(world, reference.namespace, name) or {}
        for key in _CA:
            if data.get(key):
                return {"validation_context": {"trusted_ca": _inline(data[key])}}, ""
    return None, "neither it nor its -cacert has ca.crt or cacert"
