"""What all parts of the kubelet share: the registry, the lab's addresses and images, the folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.registry import Registry
from meshlib.lab.kubelet.images import ImageTable
from meshlib.lab.kubelet.records import HOME, Records
from meshlib.lab.network import PodAddresses, Subnet

Obj = dict[str, Any]
# namespace, ServiceAccount, audience ("" for the API server), pod (name, uid) → token
Mint = Callable[[str, str, str, Mapping[str, str]], str]

NODE_NAME = "meshlib-lab"
COMPONENT = "kubelet"


@dataclass
class Context:
    registry: Registry
    home: Path
    subnet: Subnet
    images: ImageTable
    ca_pem: bytes
    mint: Mint
    capacity: Mapping[str, str]  # cpu, memory, pods as quantities
    server: str = ""  # URL of the API server, known once it listens
    addresses: PodAddresses = field(init=False)
    records: Records = field(init=False)
    ports: dict[str, set[int]] = field(default_factory=dict)  # the true ports of each pod, by uid

    def __post_init__(self) -> None:
        self.addresses = PodAddresses(self.subnet)
        self.records = Records(self.home / "processes")

    def pod_folder(self, uid: str) -> Path:
        return self.home / "pods" / uid

    def xds_folder(self, uid: str) -> Path:
        return self.home / "xds" / uid

    def taken_ports(self, uid: str) -> set[int]:
        """Ports of other pods that this one must avoid: none where each pod has its own address."""
        if not self.subnet.shared:
            return set()
        return {port for other, ports in self.ports.items() if other != uid for port in ports}

    def lookup(self, namespace: str) -> Callable[[str, str], Obj | None]:
        """ConfigMaps and Secrets of a namespace; None for one that does not exist."""

        def find(resource: str, name: str) -> Obj | None:
            try:
                return self.registry.get(resource, namespace, name)
            except StatusError as error:
                if error.status == 404:
                    return None
                raise

        return find

    def mark(self) -> dict[str, str]:
        """What in a process's environment says whose it is."""
        return {HOME: str(self.home)}
