"""Services → EndpointSlices and Endpoints, with the ports that pods really listen on. Deciding is pure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from meshlib.lab.api.registry import Event
from meshlib.lab.controllers import pods
from meshlib.lab.controllers.queue import Controller, Key, deleting, key_of, reference
from meshlib.lab.kubelet import podspec
from meshlib.lab.kubelet.status import rfc3339

Obj = dict[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MOST_ENDPOINTS = 100  # in one slice, as the controller's default


def true_ports(pod: Obj) -> dict[int, int]:
    """Declared port → the port where the pod listens, from the kubelet's annotation."""
    text = (pod["metadata"].get("annotations") or {}).get(podspec.PORTS, "{}")
    return {int(declared): int(true) for declared, true in json.loads(text).items()}


def target(pod: Obj, port: Obj) -> int | None:
    """The true port of a pod for a port of a Service; None where the pod declares no such name."""
    wanted = port.get("targetPort", port["port"])
    number: int | None
    if isinstance(wanted, int):
        number = wanted
    else:
        number = next(
            (
                int(each["containerPort"])
                for container in podspec.all_containers(pod)
                for each in container.get("ports") or []
                if each.get("name") == wanted and each.get("protocol", "TCP") == port.get("protocol", "TCP")
            ),
            None,
        )
    return None if number is None else true_ports(pod).get(number, number)


def eligible(pod: Obj) -> bool:
    """A pod that can be an endpoint: it has an address and has not ended."""
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def endpoint(service: Obj, pod: Obj, zone: str | None) -> Obj:
    """An entry of an EndpointSlice."""
    meta = pod["metadata"]
    serving = pods.is_ready(pod)
    leaving = deleting(pod)
    anyhow = bool(service["spec"].get("publishNotReadyAddresses"))
    result: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": anyhow or (serving and not leaving),
            "serving": serving,
            "terminating": leaving,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "nodeName": pod["spec"]["nodeName"],
    }
    if zone:
        result["zone"] = zone
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        result["hostname"] = pod["spec"]["hostname"]
    return result


def port_groups(service: Obj, members: list[Obj]) -> list[tuple[list[Obj], list[Obj]]]:
    """(ports of a slice, its pods) for each set of true ports; one empty group where there is no pod."""
    groups: dict[str, tuple[list[Obj], list[Obj]]] = {}
    for pod in members:
        ports = [
            _port(port, number)
            for port in service["spec"].get("ports") or []
            if (number := target(pod, port)) is not None
        ]
        groups.setdefault(json.dumps(ports), (ports, []))[1].append(pod)
    return list(groups.values()) or [([], [])]


def _port(port: Obj, number: int) -> Obj:
    protocol = port.get("appProtocol")
    entry = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
    return {**entry, "appProtocol": protocol} if protocol else entry


def slices(service: Obj, members: list[Obj], zone: str | None) -> list[Obj]:
    """The EndpointSlices (without name) that a Service is to have."""
    meta = service["metadata"]
    labels = {**(meta.get("labels") or {}), MANAGED_BY: SLICE_MANAGER, SERVICE_NAME: meta["name"]}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    result: list[Obj] = []
    for ports, group in port_groups(service, members):
        parts = [group[start : start + MOST_ENDPOINTS] for start in range(0, len(group), MOST_ENDPOINTS)]
        result.extend(_slice(service, labels, part, ports, zone) for part in parts or [[]])
    return result


def _slice(service: Obj, labels: Obj, members: list[Obj], ports: list[Obj], zone: str | None) -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{service['metadata']['name']}-",
            "labels": labels,
            "ownerReferences": [reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": [endpoint(service, pod, zone) for pod in members] or None,
        "ports": ports or None,
    }


def subsets(service: Obj, members: list[Obj]) -> list[Obj]:
    """The subsets of the Endpoints object of a Service."""
    result = []
    for ports, group in port_groups(service, members):
        if not group or not ports:
            continue
        named = [{key: value for key, value in port.items() if value != ""} for port in ports]
        subset: Obj = {}
        for ready in (True, False):
            staying = [pod for pod in group if not deleting(pod)]
            fit = [pod for pod in staying if endpoint(service, pod, None)["conditions"]["ready"] is ready]
            if fit:
                fit.sort(key=lambda pod: str(pod["status"]["podIP"]))
                key = "addresses" if ready else "notReadyAddresses"
                subset[key] = [_address(service, pod) for pod in fit]
        result.append({**subset, "ports": named})
    return [each for each in result if len(each) > 1]


def _address(service: Obj, pod: Obj) -> Obj:
    reference_ = endpoint(service, pod, None)["targetRef"]
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": reference_}


def trigger(service: Obj, members: list[Obj]) -> str:
    """When the last of what these endpoints follow from changed: the Service's birth or a pod's readiness."""
    ready = [found["lastTransitionTime"] for pod in members if (found := pods.condition(pod, "Ready"))]
    return str(max([service["metadata"]["creationTimestamp"], *ready]))


class Endpoints(Controller):
    name = "endpoints"
    watches = ("services", "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.resource == "services":
            return [key_of(event.object)]
        states = [each for each in (event.object, event.old) if each]
        if event.type == "MODIFIED" and len(states) == 2 and _same(*states):
            return []
        labels = [(each["metadata"].get("labels") or {}).items() for each in states]
        return [
            key_of(service)
            for service in self.registry.list("services", event.object["metadata"]["namespace"])
            if (selector := service["spec"].get("selector"))
            and any(selector.items() <= found for found in labels)
        ]

    async def reconcile(self, key: Key) -> None:
        service = self.find("services", key)
        if service is None:  # slices have their Service as owner, Endpoints have none
            if self.find("endpoints", key) is not None:
                await self.registry.delete("endpoints", *key)
            return
        if deleting(service) or not service["spec"].get("selector"):
            return
        if service["spec"].get("type") == "ExternalName":
            return
        found = self.registry.list("pods", key.namespace, labels=service["spec"]["selector"])
        members = sorted(
            (pod for pod in found if eligible(pod)), key=lambda pod: str(pod["metadata"]["name"])
        )
        await self._slices(service, members)
        await self._endpoints(service, members)

    async def _slices(self, service: Obj, members: list[Obj]) -> None:
        namespace, name = key_of(service)
        labels = {SERVICE_NAME: name, MANAGED_BY: SLICE_MANAGER}
        there = self.registry.list("endpointslices.discovery.k8s.io", namespace, labels=labels)
        there = [each for each in there if not deleting(each)]
        stamp = trigger(service, members)
        for wanted in slices(service, members, None):
            same = next((each for each in there if (each.get("ports") or None) == wanted["ports"]), None)
            same = same or (there[0] if there else None)
            if same is None:
                wanted["metadata"]["annotations"] = {TRIGGER: stamp}
                await self.registry.create(
                    "endpointslices.discovery.k8s.io", namespace, wanted, manager="endpointslice-controller"
                )
                continue
            there.remove(same)

            def change(live: Obj, wanted: Obj = wanted) -> None:
                parts = {part: wanted[part] for part in ("endpoints", "ports")}
                if any((live.get(part) or None) != value for part, value in parts.items()):
                    live.update(parts)
                    notes = live["metadata"].get("annotations") or {}
                    live["metadata"]["annotations"] = {**notes, TRIGGER: stamp}
                live["metadata"]["labels"] = wanted["metadata"]["labels"]

            await self.registry.modify(
                "endpointslices.discovery.k8s.io", *key_of(same), change, manager="endpointslice-controller"
            )
        for each in there:
            await self.registry.delete(
                "endpointslices.discovery.k8s.io", *key_of(each), uid=each["metadata"]["uid"]
            )

    async def _endpoints(self, service: Obj, members: list[Obj]) -> None:
        key = key_of(service)
        wanted = subsets(service, members)
        labels = {**(service["metadata"].get("labels") or {}), ENDPOINTS_MANAGED_BY: "endpoint-controller"}
        if service["spec"].get("clusterIP") == "None":
            labels[HEADLESS] = ""
        found = self.find("endpoints", key)
        if found is None:
            meta: Obj = {"name": key.name, "labels": labels}
            if wanted:
                meta["annotations"] = {TRIGGER: rfc3339(time.time())}
            made: Obj = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta}
            if wanted:
                made["subsets"] = wanted
            await self.registry.create("endpoints", key.namespace, made, manager="endpoint-controller")
            return
        if (found.get("subsets") or []) == wanted and found["metadata"].get("labels") == labels:
            return

        def change(live: Obj) -> None:
            live["subsets"] = wanted
            notes = live["metadata"].get("annotations") or {}
            live["metadata"] |= {
                "labels": labels,
                "annotations": {**notes, TRIGGER: trigger(service, members)},
            }

        await self.registry.modify("endpoints", *key, change, manager="endpoint-controller")


def _same(new: Obj, old: Obj) -> bool:
    """Whether a change of a pod cannot matter to an endpoint."""

    def essence(pod: Obj) -> tuple[object, ...]:
        meta = pod["metadata"]
        labels = json.dumps(meta.get("labels"), sort_keys=True)
        ports = (meta.get("annotations") or {}).get(podspec.PORTS)
        return (
            labels,
            ports,
            eligible(pod),
            pods.is_ready(pod),
            deleting(pod),
            (pod.get("status") or {}).get("podIP"),
        )

    return essence(new) == essence(old)
