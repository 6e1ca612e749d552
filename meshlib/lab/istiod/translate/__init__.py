"""The translator: API objects in, Envoy resources out.  It is pure: no file, no socket, no clock.

    world = World()
    world.put(obj)                      # a change; False if it means nothing for traffic
    for proxy in proxies(world):
        paths = Paths(f"{home}/xds/{proxy.uid}")
        resources = translate(world, proxy, paths)

The names, defaults and order are istiod's (docs/RATIONALE.md tells where the lab must differ).
"""

from __future__ import annotations

from meshlib.lab.istiod.translate.mesh import MeshConfig, mesh_config
from meshlib.lab.istiod.translate.model import (
    INSIDE,
    PORTS,
    Obj,
    Problem,
    Proxy,
    Resources,
    SecretReference,
)
from meshlib.lab.istiod.translate.names import Paths
from meshlib.lab.istiod.translate.proxies import proxies
from meshlib.lab.istiod.translate.translating import translate
from meshlib.lab.istiod.translate.world import READS, World

__all__ = [
    "INSIDE",
    "PORTS",
    "READS",
    "MeshConfig",
    "Obj",
    "Paths",
    "Problem",
    "Proxy",
    "Resources",
    "SecretReference",
    "World",
    "mesh_config",
    "proxies",
    "translate",
]
