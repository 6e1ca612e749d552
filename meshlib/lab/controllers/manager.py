"""All controllers of the lab, started and supervised together."""

from __future__ import annotations

import asyncio

from meshlib.lab.api.registry import Registry
from meshlib.lab.controllers.budgets import Budgets
from meshlib.lab.controllers.deployment import Deployments
from meshlib.lab.controllers.endpoints import Endpoints
from meshlib.lab.controllers.garbage import Garbage
from meshlib.lab.controllers.jobs import Jobs
from meshlib.lab.controllers.loadbalancer import LoadBalancers
from meshlib.lab.controllers.namespaces import Furnishings, Termination
from meshlib.lab.controllers.queue import Controller
from meshlib.lab.controllers.replicaset import ReplicaSets
from meshlib.lab.network import Subnet


def controllers(registry: Registry, ca_pem: str, subnet: Subnet) -> list[Controller]:
    """One of each."""
    return [
        Furnishings(registry, ca_pem),
        Termination(registry),
        Garbage(registry),
        Deployments(registry),
        ReplicaSets(registry),
        Jobs(registry),
        Budgets(registry),
        Endpoints(registry),
        LoadBalancers(registry, subnet),
    ]


async def run(parts: list[Controller]) -> None:
    """Until cancelled; an exception that leaves a controller ends all, as it is a fault of the lab."""
    async with asyncio.TaskGroup() as group:
        for each in parts:
            group.create_task(each.run(), name=each.name)
