"""The values that the translator takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Obj = dict[str, Any]

INSIDE = "lab.meshlib.dev/inside"
PORTS = "lab.meshlib.dev/ports"


@dataclass(frozen=True)
class Proxy:
    """One pod with an `istio-proxy` container.

    role: `router` for a gateway, `sidecar` for a pod with an application beside the proxy
    address: the pod's IP; inside: the address that is the pod's own localhost; node: the node's IP,
    empty if
    unknown
    ports: declared port → the port that is really bound
    container_ports: the application's ports, in the order of the pod's containers
    service_cluster: the name under which the proxy reports spans (`<app>.<namespace>`)
    config: the pod's `proxy.istio.io/config`, parsed
    minor: the Istio minor of the proxy's image
    named_ports: the names of the application's ports; own_ports: what the proxy's container itself
    declares
    effective: the whole ProxyConfig that it started with, where that is known: it holds until a restart
    """

    role: Literal["router", "sidecar"]
    uid: str
    name: str
    namespace: str
    address: str
    inside: str
    labels: Mapping[str, str]
    ports: Mapping[int, int]
    service_account: str
    container_ports: tuple[int, ...]
    service_cluster: str
    config: Mapping[str, Any]
    minor: int
    node: str = ""
    named_ports: Mapping[str, int] = field(default_factory=dict)
    own_ports: tuple[int, ...] = ()
    effective: Mapping[str, Any] | None = None

    def true_port(self, declared: int) -> int:
        return self.ports.get(declared, declared)


@dataclass(frozen=True)
class Problem:
    """Something in an object that could not be honoured; `object` is `Kind namespace/name`."""

    object: str
    text: str


@dataclass(frozen=True)
class SecretReference:
    """What stands behind an SDS name.

    kind: `workload` (the proxy's own certificate), `root` (the mesh's CA), `system` (the machine's CAs),
    `certificate` (a Secret's pair),
    `ca` (a Secret's CA), `files` (paths in the pod, in `name`, as istiod's file resource names are)
    """

    kind: Literal["workload", "root", "system", "certificate", "ca", "files"]
    namespace: str = ""
    name: str = ""


@dataclass
class Resources:
    """What one proxy gets; every value is plain proto JSON with snake_case names and without `@type`."""

    listeners: dict[str, Obj] = field(default_factory=dict)
    routes: dict[str, Obj] = field(default_factory=dict)
    clusters: dict[str, Obj] = field(default_factory=dict)
    endpoints: dict[str, Obj] = field(default_factory=dict)
    secrets: dict[str, SecretReference] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Of:
    """A key of what is remembered for one proxy."""

    uid: str
    what: tuple[object, ...]


#: What reading an object can raise that no schema has checked: it came in while the webhook was away.
MALFORMED = (KeyError, ValueError, TypeError, AttributeError, IndexError)


def describe(obj: Obj) -> str:
    """`Gateway shop/web`."""
    meta = obj.get("metadata", {})
    return f"{obj.get('kind', '?')} {meta.get('namespace', '')}/{meta.get('name', '?')}"


def typed(type_name: str, /, **fields: Any) -> Obj:
    """A `google.protobuf.Any` in proto JSON; fields that are None are left out."""
    return {"@type": f"type.googleapis.com/{type_name}", **present(**fields)}


def present(**fields: Any) -> Obj:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
