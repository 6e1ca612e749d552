"""The filters that let requests in or not, in istiod's order: JWT, then authorization.

They hold at gateways and on a sidecar's inbound side.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshlib.lab.istiod.translate import authz
from meshlib.lab.istiod.translate.jwt import Jwt
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy
from meshlib.lab.istiod.translate.world import World


class Filters:
    """The filters of one proxy; `clusters` are those that key sets are fetched through.

    ports: declared port → every number under which the proxy binds it
    """

    def __init__(self, world: World, proxy: Proxy, ports: Mapping[int, tuple[int, ...]]) -> None:
        self.problems: list[Problem] = []
        jwt = Jwt(world, proxy, self.problems)
        self.http: list[Obj] = [*jwt.filters(), *authz.filters(world, proxy, ports, self.problems, tcp=False)]
        self.network: list[Obj] = authz.filters(world, proxy, ports, self.problems, tcp=True)
        self.clusters: list[Obj] = list(jwt.clusters.values())
