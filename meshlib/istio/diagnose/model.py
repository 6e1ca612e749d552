"""What the rules read and what they say: a snapshot of API objects and proxy state, and findings."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Obj = dict[str, Any]

ERROR, WARNING, INFO = "Error", "Warning", "Info"
LEVELS = (ERROR, WARNING, INFO)

MODES: dict[int, str] = {
    1: "no traces",
    2: "mesh edit ignored",
    3: "404",
    4: "TLS reset",
    5: "certificate refused",
    6: "EXTERNAL-IP pending",
    7: "sidecar missing",
    8: "503",
    9: "gateway not programmed",
    10: "401 or 403",
    11: "other",
}
"""The eleven ways in which an ingress breaks; a finding names one of them."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    `finding` says what is wrong, `evidence` where it was read, `cause` why that breaks requests, `fix` is a
    command; `code` is the one of `istioctl analyze`, "" where it has none.
    """

    mode: int
    level: str
    finding: str
    evidence: str
    cause: str
    fix: str
    code: str = ""


@dataclass(frozen=True)
class Credential:
    """What is known of a Secret without its private key.

    state: `read`, `missing`, `foreign` (not made by meshlib, so only its metadata was read) or `denied`
    keys: the names in its data; certificate: PEM, "" where none could be read; pair: what is wrong with the
    key, "" when it belongs to the certificate; reason: the API's words when it was denied
    """

    state: str
    keys: tuple[str, ...] = ()
    certificate: str = ""
    pair: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything that the rules may look at.

    objects: kind → its objects, all namespaces; a kind that could not be read is in `unread` with the reason
    kubernetes: GET /version; root: istiod's namespace; credentials: (namespace, name) → what is known of it
    syncz: istiod's /debug/syncz, None where it could not be asked; started: `pod.namespace` of a gateway →
    the ProxyConfig that it started with, where it says so
    url: the request that is asked about, "" for none
    """

    objects: Mapping[str, tuple[Obj, ...]]
    kubernetes: str = ""
    root: str = "istio-system"
    credentials: Mapping[tuple[str, str], Credential] = field(default_factory=dict)
    syncz: tuple[Obj, ...] | None = None
    started: Mapping[str, Obj] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    url: str = ""

    def all(self, kind: str, namespace: str | None = None) -> tuple[Obj, ...]:
        """The objects of a kind, in one namespace or in all."""
        found = self.objects.get(kind, ())
        return found if namespace is None else tuple(each for each in found if space(each) == namespace)

    def find(self, kind: str, name: str, namespace: str = "") -> Obj | None:
        """One object, None when there is none."""
        return next((each for each in self.all(kind) if title(each) == (namespace, name)), None)

    def pods(self, selector: Mapping[str, str], namespace: str | None = None) -> list[Obj]:
        """The living pods that carry all labels of a selector; a selector without labels selects all."""
        return [
            pod
            for pod in self.all("Pod", namespace)
            if selects(selector, labels(pod))
            and "deletionTimestamp" not in pod["metadata"]
            and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def gateway_pods(self, gateway: Obj) -> list[Obj]:
        """The pods that a Gateway's selector names, in any namespace."""
        return self.pods(gateway["spec"].get("selector") or {})

    def services_of(self, pod: Obj) -> list[Obj]:
        """The Services that select a pod."""
        return [
            each
            for each in self.all("Service", space(pod))
            if (selector := each["spec"].get("selector")) and selects(selector, labels(pod))
        ]

    def istio_minor(self) -> int | None:
        """The minor of the istiod that runs, from the tag of its image."""
        for pod in self.pods({"app": "istiod"}, self.root):
            for container in pod["spec"]["containers"]:
                parts = container["image"].rpartition(":")[2].split(".")
                if len(parts) > 1 and parts[0] == "1" and parts[1].isdigit():
                    return int(parts[1])
        return None


def space(obj: Obj) -> str:
    """The namespace of an object, "" when it has none."""
    return str(obj["metadata"].get("namespace", ""))


def name_of(obj: Obj) -> str:
    """`namespace/name`."""
    return f"{space(obj)}/{obj['metadata']['name']}"


def title(obj: Obj) -> tuple[str, str]:
    """(namespace, name)."""
    return space(obj), str(obj["metadata"]["name"])


def labels(obj: Obj) -> Mapping[str, str]:
    """The labels of an object."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Obj) -> Mapping[str, str]:
    """The annotations of an object."""
    return obj["metadata"].get("annotations") or {}


def selects(selector: Mapping[str, str], carried: Mapping[str, str]) -> bool:
    """Whether every label of the selector is carried."""
    return all(carried.get(key) == value for key, value in selector.items())


def match_labels(policy: Obj) -> Mapping[str, str]:
    """The workload selector of a policy, empty when it has none."""
    selector = (policy.get("spec") or {}).get("selector") or {}
    return selector.get("matchLabels") or {}


def words(mapping: Mapping[str, str]) -> str:
    """`a=b,c=d`, as `kubectl -l` takes it."""
    return ",".join(f"{key}={value}" for key, value in mapping.items())


def has_proxy(pod: Obj) -> bool:
    """Whether a pod has a sidecar or is a proxy, as a container or as a native sidecar."""
    spec = pod["spec"]
    both = [*spec["containers"], *(spec.get("initContainers") or [])]
    return any(each["name"] == "istio-proxy" for each in both)


def is_ready(pod: Obj) -> bool:
    """Whether the pod's condition Ready is true."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def when(text: str) -> datetime.datetime:
    """A Kubernetes time."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def gateway_servers(gateway: Obj) -> Iterator[tuple[int, Obj]]:
    """(port number, server) of a Gateway."""
    for server in gateway["spec"].get("servers") or []:
        yield int(server["port"]["number"]), server


def yaml_mapping(text: str) -> dict[str, Any]:
    """YAML text as a mapping; empty where it is none."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def endpoints(snapshot: Snapshot, name: str, namespace: str) -> int:
    """How many ready addresses a Service has."""
    return sum(
        len(entry.get("addresses") or [])
        for each in snapshot.all("EndpointSlice", namespace)
        if labels(each).get("kubernetes.io/service-name") == name
        for entry in each.get("endpoints") or []
        if (entry.get("conditions") or {}).get("ready") is not False
    )
