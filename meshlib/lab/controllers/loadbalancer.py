"""Services of type LoadBalancer: an address of the lab's own, where its ports can be bound."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib.lab.api.registry import Event, Registry
from meshlib.lab.controllers.queue import Controller, Key, Obj, deleting, key_of
from meshlib.lab.network import Subnet, can_bind

COMPONENT = "service-controller"
PLACES = 254


def addresses(service: Obj) -> list[str]:
    """The load balancer addresses that the Service's status shows."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [each["ip"] for each in ingress]


def free_address(taken: set[str], subnet: Subnet) -> str | None:
    """The first address of the load balancers' range that no Service has."""
    if subnet.shared:
        return None
    return next((each for each in map(subnet.balancer, range(PLACES)) if each not in taken), None)


class LoadBalancers(Controller):
    """A Service whose ports this user may not bind stays `<pending>`; its node ports work.

    One with a `loadBalancerClass` is left to whoever implements that class, as everywhere.
    """

    name = "load-balancer"
    watches = ("services",)

    def __init__(self, registry: Registry, subnet: Subnet) -> None:
        super().__init__(registry)
        self.subnet = subnet

    def keys(self, event: Event) -> Iterable[Key]:
        return [key_of(event.object)]

    async def reconcile(self, key: Key) -> None:
        service = self.find("services", key)
        if service is None or deleting(service):
            return
        has = addresses(service)
        spec = service["spec"]
        wants = spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")
        if wants == bool(has):
            return
        ingress = []
        if wants:
            taken = {each for other in self.registry.list("services") for each in addresses(other)}
            address = free_address(taken, self.subnet)
            ports = [port["port"] for port in service["spec"].get("ports") or []]
            if address is None or not all(can_bind(address, port) for port in ports):
                return
            ingress = [{"ip": address, "ipMode": "VIP"}]

        def change(live: Obj) -> None:
            live.setdefault("status", {})["loadBalancer"] = {"ingress": ingress} if ingress else {}

        await self.registry.modify("services", *key, change, subresource="status", manager=COMPONENT)
        if ingress:
            note = "Ensured load balancer"
            await self.registry.event(service, "Normal", "EnsuredLoadBalancer", note, component=COMPONENT)
