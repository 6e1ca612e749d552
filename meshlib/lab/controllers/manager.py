"""All controllers of the lab, started and supervised together."""

from __future__ import annotations

import asyncio
import logging

from meshlib.lab.api.registry import Registry
from meshlib.lab.controllers.deployment import Deployments
from meshlib.lab.controllers.endpoints import Endpoints
from meshlib.lab.controllers.garbage import Garbage
from meshlib.lab.controllers.namespaces import Furnishings, Termination
from meshlib.lab.controllers.queue import Controller
from meshlib.lab.controllers.replicaset import ReplicaSets

log = logging.getLogger(__name__)


def controllers(registry: Registry, ca_pem: str) -> list[Controller]:
    """One of each."""
    return [
        Furnishings(registry, ca_pem),
        Termination(registry),
        Garbage(registry),
        Deployments(registry),
        ReplicaSets(registry),
        Endpoints(registry),
    ]


async def run(registry: Registry, ca_pem: str) -> None:
    """Until cancelled; an exception that leaves a controller ends all, as it is a fault of the lab."""
    async with asyncio.TaskGroup() as group:
        for each in controllers(registry, ca_pem):
            group.create_task(each.run(), name=each.name)
