"""The filters that let requests in or not, in istiod's order: JWT, then authorization."""

from __future__ import annotations

from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy
from meshlib.lab.istiod.translate.telemetry import Side
from meshlib.lab.istiod.translate.world import World


class Filters:
    """The filters of one proxy; they hold for gateways and for a sidecar's inbound side."""

    def __init__(self, world: World, proxy: Proxy) -> None:
        self.world = world
        self.proxy = proxy
        self.problems: list[Problem] = []

    def http(self, side: Side) -> list[Obj]:
        return []

    def network(self, side: Side) -> list[Obj]:
        return []
