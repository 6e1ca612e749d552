"""Which mode of mutual TLS holds where (PeerAuthentication).

Source: istio/istio pilot/pkg/security/authn/policy_applier.go; istio-facts D.  `portLevelMtls` names
container ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshlib.lab.istiod.translate.model import Obj
from meshlib.lab.istiod.translate.world import World


@dataclass(frozen=True)
class Modes:
    """The mode of a workload (PERMISSIVE, STRICT, DISABLE), and of the container ports that differ."""

    workload: str
    ports: Mapping[int, str]

    def at(self, port: int) -> str:
        return self.ports.get(port, self.workload)


def _mode(policy: Obj | None) -> str | None:
    mode = ((policy or {}).get("spec", {}).get("mtls") or {}).get("mode", "UNSET")
    return None if mode == "UNSET" else str(mode)


def _labels(policy: Obj) -> dict[str, str]:
    return (policy.get("spec", {}).get("selector") or {}).get("matchLabels") or {}


def namespace_mode(world: World, namespace: str) -> str:
    """The mode of a namespace: its own policy without selector, else the root namespace's, else
    PERMISSIVE.
    """

    def build() -> str:
        found = "PERMISSIVE"
        for scope in (world.root_namespace, namespace):
            policy = next((p for p in _policies(world, scope) if not _labels(p)), None)
            found = _mode(policy) or found
        return found

    return world.memo(("mtls of namespace", namespace), ("PeerAuthentication",), build)


def _policies(world: World, namespace: str) -> list[Obj]:
    """The policies of a namespace, oldest first: in one scope the oldest wins."""
    return [p for p in world.all("PeerAuthentication") if p["metadata"]["namespace"] == namespace]


def modes(world: World, namespace: str, labels: Mapping[str, str]) -> Modes:
    """The modes of a workload with these labels."""
    if not world.all("PeerAuthentication"):
        return Modes("PERMISSIVE", {})
    inherited = namespace_mode(world, namespace)
    if namespace == world.root_namespace:
        return Modes(inherited, {})
    for policy in _policies(world, namespace):
        selector = _labels(policy)
        if selector and all(labels.get(key) == value for key, value in selector.items()):
            own = _mode(policy) or inherited
            levels = policy["spec"].get("portLevelMtls") or {}
            ports = {
                int(port): str(level["mode"]) if (level or {}).get("mode", "UNSET") != "UNSET" else own
                for port, level in levels.items()
            }
            return Modes(own, ports)
    return Modes(inherited, {})
