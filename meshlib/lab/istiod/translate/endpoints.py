"""The endpoints of services, with what a client must know of each: labels, account, whether it takes
mutual
TLS.

Source: istio-facts C5; ports are the true ones, as EndpointSlices show them (docs/ARCHITECTURE.md,
Addresses).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from meshlib.lab.istiod.translate import authn
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, present
from meshlib.lab.istiod.translate.services import Port, Service
from meshlib.lab.istiod.translate.world import World

TLS_MODE_LABEL = "security.istio.io/tlsMode"
READS = ("EndpointSlice", "Pod", "Service", "ServiceEntry", "WorkloadEntry", "ConfigMap")


@dataclass(frozen=True)
class Endpoint:
    """One address of a service's port; ports: port name → true number, with "" for the only unnamed one."""

    address: str
    ports: Mapping[str, int]
    labels: Mapping[str, str]
    account: str
    mutual_tls: bool
    ready: bool
    weight: int = 0


def _pods_by_ip(world: World) -> dict[str, Obj]:
    return world.memo(
        "pods by ip",
        ("Pod",),
        lambda: {
            pod["status"]["podIP"]: pod for pod in world.all("Pod") if pod.get("status", {}).get("podIP")
        },
    )


def spiffe(domain: str, namespace: str, account: str) -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


def _of_pod(
    world: World, pod: Obj | None, address: str, ports: Mapping[str, int], namespace: str, ready: bool
) -> Endpoint:
    labels = pod["metadata"].get("labels", {}) if pod else {}
    account = pod.get("spec", {}).get("serviceAccountName") or "default" if pod else ""
    return Endpoint(
        address=address,
        ports=ports,
        labels=labels,
        account=spiffe(mesh_config(world).trust_domain, namespace, account) if account else "",
        mutual_tls=labels.get(TLS_MODE_LABEL) == "istio",
        ready=ready,
    )


def _of_slices(world: World, service: Service) -> Iterable[Endpoint]:
    for obj in world.slices(service.namespace, service.name):
        ports = {port.get("name") or "": port["port"] for port in obj.get("ports") or [] if port.get("port")}
        for item in obj.get("endpoints") or []:
            target = item.get("targetRef") or {}
            # Unset means ready (Kubernetes API of EndpointSlice conditions).
            ready = (item.get("conditions") or {}).get("ready") is not False
            for address in item.get("addresses", []):
                pod = None
                if target.get("kind") == "Pod":
                    pod = world.get("Pod", target.get("namespace", service.namespace), target.get("name", ""))
                pod = pod or _pods_by_ip(world).get(address)
                yield _of_pod(world, pod, address, ports, service.namespace, ready)


def _of_entry(world: World, service: Service) -> Iterable[Endpoint]:
    for given in service.addresses:
        account = given.get("serviceAccount", "")
        yield Endpoint(
            address=given["address"],
            ports={
                port.name: (given.get("ports") or {}).get(port.name) or _number(port)
                for port in service.ports
            },
            labels=given.get("labels") or {},
            account=spiffe(mesh_config(world).trust_domain, service.namespace, account) if account else "",
            mutual_tls=(given.get("labels") or {}).get(TLS_MODE_LABEL) == "istio",
            ready=True,
            weight=given.get("weight", 0),
        )
    if not service.selector:
        return
    for pod in world.all("Pod"):
        address = pod.get("status", {}).get("podIP")
        if pod["metadata"]["namespace"] == service.namespace and address and selected(service.selector, pod):
            ports = {port.name: _number(port) for port in service.ports}
            yield _of_pod(world, pod, address, ports, service.namespace, True)


def _number(port: Port) -> int:
    return port.target if isinstance(port.target, int) else port.number


def selected(selector: Mapping[str, str], obj: Obj) -> bool:
    """Whether an object carries all labels of a selector; an empty selector selects everything."""
    labels = obj["metadata"].get("labels", {})
    return all(labels.get(key) == value for key, value in selector.items())


def of_service(world: World, service: Service) -> list[Endpoint]:
    """All endpoints of a service, ready or not."""

    def build() -> list[Endpoint]:
        return list(_of_entry(world, service) if service.entry else _of_slices(world, service))

    return world.memo(("endpoints", service.namespace, service.hostname), READS, build, service)


def accounts(world: World, service: Service) -> list[str]:
    """The SPIFFE identities of a service's endpoints, sorted."""
    found = {endpoint.account for endpoint in of_service(world, service) if endpoint.account}
    own, *aliases = mesh_config(world).trust_domains
    named = f"spiffe://{own}/"
    for alias in aliases:
        found |= {f"spiffe://{alias}/{name.removeprefix(named)}" for name in found if name.startswith(named)}
    return sorted(found | set(service.accounts))


def port_of(endpoint: Endpoint, port: Port) -> int | None:
    """The true port of an endpoint for a service's port; unnamed single ports match whatever name there
    is.
    """
    if port.name in endpoint.ports:
        return endpoint.ports[port.name]
    if len(endpoint.ports) == 1 and not port.name:
        return next(iter(endpoint.ports.values()))
    return None


def address(host: str, port: int) -> Obj:
    return {"socket_address": {"address": host, "port_value": port}}


def lb_endpoint(endpoint: Endpoint, number: int) -> Obj:
    """One `LbEndpoint`; the metadata is what the cluster's transport socket matches look at."""
    metadata = (
        {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}
        if endpoint.mutual_tls
        else None
    )
    return present(
        endpoint={"address": address(endpoint.address, number)},
        metadata=metadata,
        load_balancing_weight=endpoint.weight or 1,
    )


def assignment(
    world: World, cluster: str, service: Service, port: Port, labels: Mapping[str, str] | None = None
) -> Obj:
    """The `ClusterLoadAssignment` of a cluster: the ready endpoints that carry `labels`."""
    chosen = []
    target = port.target if isinstance(port.target, int) else 0
    for endpoint in of_service(world, service):
        number = port_of(endpoint, port)
        if endpoint.ready and number and all(endpoint.labels.get(k) == v for k, v in (labels or {}).items()):
            # A client must not offer mutual TLS where the workload has it switched off.
            off = endpoint.mutual_tls and (
                authn.modes(world, service.namespace, endpoint.labels).at(target) == "DISABLE"
            )
            chosen.append(lb_endpoint(replace(endpoint, mutual_tls=False) if off else endpoint, number))
    if not chosen:
        return {"cluster_name": cluster}
    weight = sum(item["load_balancing_weight"] for item in chosen)
    return {
        "cluster_name": cluster,
        "endpoints": [{"locality": {}, "lb_endpoints": chosen, "load_balancing_weight": weight}],
    }
