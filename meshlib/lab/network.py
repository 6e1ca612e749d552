"""The lab's addresses: a loopback subnet of its own, what can be bound in it, and what is handed out.

On Linux every address of 127.0.0.0/8 can be bound without being configured, so each lab takes 127.A.0.0/16.
Where only 127.0.0.1 exists (macOS without aliases) all parts of a lab share that address and differ by port:
ClusterIPs and load balancers are then names without a listener, node ports and pod ports work.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meshlib.errors import LabError

LOOPBACK = "127.0.0.1"
FLOOR_ADDRESS, FLOOR_PORT = 254, 49151  # 127.A.0.254:49151 is bound for as long as a lab holds 127.A
PRIVILEGED, MOVED = 1024, 20000  # a port below the first that cannot be bound is tried that much higher


@dataclass(frozen=True)
class Subnet:
    """127.`second`.0.0/16; `shared` where the platform has only 127.0.0.1."""

    second: int
    shared: bool = False

    def _real(self, offset: int) -> str:
        return LOOPBACK if self.shared else self._virtual(offset)

    def _virtual(self, offset: int) -> str:
        return f"127.{self.second}.{offset >> 8}.{offset & 0xFF}"

    @property
    def node(self) -> str:
        return self._real(1)

    def pod(self, index: int) -> str:
        """127.A.1.1 and on, `index` from 0 to 16000."""
        return self._real(0x0101 + index)

    def inside(self, index: int) -> str:
        """The "localhost" of the pod with that index."""
        return self._real(0x4001 + index)

    def cluster_ip(self, index: int) -> str:
        """127.A.128.1 (the Service `kubernetes`) and on; distinct even where nothing can listen there."""
        return self._virtual(0x8001 + index)

    def balancer(self, index: int) -> str:
        return self._virtual(0xFF01 + index)

    @property
    def service_cidr(self) -> str:
        return f"127.{self.second}.128.0/18"


def can_bind(address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether this user can listen on `address`:`port` now; asked of the system, not derived from rules."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port(address: str) -> int:
    """A TCP port that nobody listens on at `address`, out of the system's ephemeral range."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def hold_subnet(wanted: int | None = None) -> tuple[Subnet, socket.socket]:
    """Take a subnet and the socket that holds it until closed.

    `wanted` is the second octet that an earlier run of the same lab recorded: its Services carry addresses of
    it, so that no other can be taken; raises `LabError` if another lab holds it.
    """
    candidates = [wanted] if wanted is not None else random.sample(range(1, 255), 254)
    for second in candidates:
        held = socket.socket()
        try:
            held.bind((f"127.{second}.0.{FLOOR_ADDRESS}", FLOOR_PORT))
        except OSError as error:
            held.close()
            if _only_localhost():
                return Subnet(second, shared=True), socket.socket()
            if wanted is not None:
                raise LabError(
                    f"the lab's addresses 127.{second}.0.0/16 are in use by another lab ({error})",
                    fix="`meshlib lab down` for the other lab, or `meshlib lab reset` for this one",
                ) from error
            continue
        return Subnet(second), held
    raise LabError("all of 127.1.0.0/16 to 127.254.0.0/16 are taken by labs", fix="meshlib lab down")


def _only_localhost() -> bool:
    """True where the system refuses every address but 127.0.0.1 (macOS without aliases)."""
    return not can_bind("127.0.0.2", 0) and can_bind(LOOPBACK, 0)


def true_ports(
    declared: Iterable[int], pod_address: str, inside_address: str | None, taken: Iterable[int] = ()
) -> dict[int, int]:
    """Declared port → the port that a pod really listens on; the same one wherever this user can bind it.

    `taken` are ports in use by others at the same address (pods on a shared 127.0.0.1).  Where a sidecar
    stands before the app, the port must be free at the inside address too.
    """
    used = set(taken)
    ports: dict[int, int] = {}
    addresses = [pod_address] if inside_address is None else [pod_address, inside_address]

    def free(port: int) -> bool:
        return port not in used and all(can_bind(address, port) for address in addresses)

    for port in declared:
        true = port
        if port < PRIVILEGED and not free(port):
            true = port + MOVED  # the same for every pod, so that a Service keeps one set of ports
        while not free(true):
            true = free_port(pod_address)
        used.add(true)
        ports[port] = true
    return ports


class PodAddresses:
    """Which pod (by uid) has which index of the subnet; an index is given again only after all others."""

    def __init__(self, subnet: Subnet) -> None:
        self.subnet = subnet
        self._index: dict[str, int] = {}
        self._next = 0

    def adopt(self, uid: str, inside: str) -> None:
        """Remember the address of a pod from before a restart of the control plane."""
        third, fourth = (int(part) for part in inside.split(".")[2:])
        if not self.subnet.shared:
            self._index[uid] = (third << 8 | fourth) - 0x4001
            self._next = max(self._next, self._index[uid] + 1)

    def take(self, uid: str) -> tuple[str, str]:
        """The pod's address and its inside address."""
        if uid not in self._index:
            busy = set(self._index.values())
            while self._next % 16000 in busy:
                self._next += 1
            self._index[uid] = self._next % 16000
            self._next += 1
        index = self._index[uid]
        return self.subnet.pod(index), self.subnet.inside(index)

    def release(self, uid: str) -> None:
        self._index.pop(uid, None)


def loopback_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a process of the lab inherits: no proxy of the user, whose traffic would leave the machine."""
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    return {name: value for name, value in inherited.items() if name.lower() not in proxies}
