"""Pure: the cluster `zipkin` of the tracer in the bootstrap; Istio has it there, resolved by DNS.

The lab has no DNS: the cluster comes with the others, its endpoints from the API.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from meshlib.lab.istiod.translate import World

Obj = dict[str, Any]

CLUSTER = "zipkin"


def cluster(world: World, address: str) -> Obj:
    """The cluster for `host:port`: an IP, or `<service>[.<namespace>[.svc[.<domain>]]]`.

    A Service that is not there has no endpoints: spans are dropped, as with a name that DNS does not know.
    """
    host, _, port = address.rpartition(":")
    endpoints = [{"lb_endpoints": _endpoints(world, host, int(port))}]
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": endpoints},
    }


def _endpoints(world: World, host: str, port: int) -> list[Obj]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [_endpoint(host, port)]
    name, namespace = ([*host.split("."), world.root_namespace])[:2]
    service = world.get("Service", namespace, name)
    if service is None:
        return []
    names = [p.get("name") for p in service["spec"].get("ports", []) if p["port"] == port]
    return [
        _endpoint(address, number["port"])
        for part in world.slices(namespace, name)
        for number in part.get("ports") or []
        if number.get("name") in (*names, *("" for n in names if n is None))
        for endpoint in part.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


def _endpoint(ip: str, port: int) -> Obj:
    return {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
