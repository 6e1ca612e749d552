"""Break a lab on purpose, in one of the eleven ways in which people break it, and put it back exactly.

    with faults.start(cluster, cfg, 3) as broken: ...        # or broken.revert() in a later cell

What a changed object was before is kept in an annotation of the object itself, and what was added carries a
label.  So `revert_all` restores from any process, also when the one that broke the lab was killed; a process
that ends reverts on its way out.  Only objects that meshlib made are changed, and the mesh configuration.
"""

from __future__ import annotations

import atexit
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from meshlib import tls, wait
from meshlib.errors import ClusterError, ParameterError
from meshlib.istio import mesh, objects, proxies
from meshlib.istio.site import Site
from meshlib.kube.apply import MANAGER, is_ours, stamped
from meshlib.kube.client import Cluster, Obj
from meshlib.parameters import Config
from meshlib.probe import Evidence

FAULT = "meshlib.dev/fault"
"""The annotation of a changed object (what was applied before, as JSON) and the label of an added one."""

NAMESPACES, TELEMETRIES = "namespaces", "telemetries.telemetry.istio.io"
GATEWAYS, ROUTES = "gateways.networking.istio.io", "virtualservices.networking.istio.io"
POLICIES, SERVICES = "authorizationpolicies.security.istio.io", "services"
CHANGED = (NAMESPACES, "configmaps", TELEMETRIES, ROUTES, GATEWAYS, SERVICES)
ADDED = (POLICIES, SERVICES, "secrets")


@dataclass(frozen=True)
class Change:
    """An object and what is done to it."""

    resource: str
    namespace: str | None
    name: str
    change: Callable[[Obj], object]


@dataclass(frozen=True)
class Fault:
    """One way to break the lab: the kind of the object at fault, what is changed, what is added."""

    culprit: str
    changes: tuple[Change, ...] = ()
    adds: tuple[Obj, ...] = ()
    replaces_pod: bool = False


@dataclass
class Broken:
    """A lab that is broken now.  `revert` puts it back; leaving a `with` block or the process does too."""

    number: int
    culprit: str
    cluster: Cluster = field(repr=False)
    cfg: Config = field(repr=False)

    def __enter__(self) -> Broken:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.revert()

    def revert(self) -> None:
        """Put everything back; doing it twice does no harm."""
        revert_all(self.cluster, self.cfg)
        atexit.unregister(self.revert)

    def judge(self, guess: str) -> str:
        """What a guess at the kind of the object at fault is worth."""
        if not guess:
            return "no guess yet: name the kind of the object that you suspect, such as Service"
        right = guess.replace(" ", "").lower() == self.culprit.lower()
        return "right: look into it" if right else f"not the {guess}: what did the symptom rule out?"


def faults(cfg: Config) -> dict[int, Fault]:
    """The eleven, by the number of the way in which they break."""
    ours, root = cfg.namespace, cfg.istio_namespace
    gateway = (GATEWAYS, ours, cfg.gateway_name)
    wrong = tls.common_name_only(f"*.{cfg.host}", 30)
    stranger = {"source": {"principals": [f"cluster.local/ns/{ours}/sa/ingress"]}}
    policy: Obj = {
        "apiVersion": objects.SECURITY,
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "only-the-gateway", "namespace": ours},
        "spec": {"selector": {"matchLabels": {"app": cfg.app}}, "rules": [{"from": [stranger]}]},
    }
    balancer: Obj = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "ingress-outside", "namespace": root},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.com/nobody",
            "selector": {"istio": "ingressgateway"},
            "ports": [{"name": "https", "port": 443, "targetPort": 8443}],
        },
    }
    return {
        1: Fault("Telemetry", (Change(TELEMETRIES, root, "mesh-default", _other_provider),)),
        2: Fault("ConfigMap", (Change("configmaps", root, mesh.CONFIG_MAP, _seed_edit),)),
        3: Fault(
            "VirtualService",
            (Change(ROUTES, ours, cfg.virtual_service_name, _spec(gateways=[f"{cfg.gateway_name}s"])),),
        ),
        4: Fault("Gateway", (Change(*gateway, _credential(f"{cfg.credential_name}s")),)),
        5: Fault(
            "Secret",
            (Change(*gateway, _credential("renewed-credential")),),
            (objects.tls_secret("renewed-credential", root, wrong.certificate, wrong.key),),
        ),
        6: Fault("Service", adds=(balancer,)),
        7: Fault("Namespace", (Change(NAMESPACES, None, ours, _label("enable")),), replaces_pod=True),
        8: Fault("Service", (Change(SERVICES, ours, cfg.app, _spec(selector={"app": f"{cfg.app}s"})),)),
        9: Fault("Gateway", (Change(*gateway, _spec(selector={"istio": "ingress-gateway"})),)),
        10: Fault("AuthorizationPolicy", adds=(policy,)),
        11: Fault("Service", (Change(SERVICES, ours, cfg.app, _unnamed),)),
    }


def _spec(**values: Any) -> Callable[[Obj], object]:
    return lambda obj: obj["spec"].update(values)


def _label(value: str) -> Callable[[Obj], object]:
    return lambda obj: obj["metadata"].setdefault("labels", {}).update({"istio-injection": value})


def _credential(name: str) -> Callable[[Obj], object]:
    def change(gateway: Obj) -> None:
        for server in gateway["spec"]["servers"]:
            if "credentialName" in server.get("tls", {}):
                server["tls"]["credentialName"] = name

    return change


def _other_provider(telemetry: Obj) -> None:
    for tracing in telemetry["spec"]["tracing"]:
        tracing["providers"] = [{"name": "jeager"}]


def _seed_edit(config_map: Obj) -> None:
    config_map["data"][mesh.KEY] = mesh.SEED_EDIT


def _unnamed(service: Obj) -> None:
    for port in service["spec"]["ports"]:
        port.pop("name", None)
        port.pop("appProtocol", None)


def start(cluster: Cluster, cfg: Config, number: int) -> Broken:
    """Break the lab in way `number` (1 to 11), after putting back what was still broken.

    Raises `ClusterError` before the first write where an object is missing or not made by meshlib.
    """
    known = faults(cfg)
    if number not in known:
        raise ParameterError([f"number: {number} is none of {min(known)} to {max(known)}"])
    fault = known[number]
    revert_all(cluster, cfg)
    before = [cluster.get(each.resource, each.name, each.namespace) for each in fault.changes]
    for obj in before:
        if not is_ours(obj) and obj["metadata"]["name"] != mesh.CONFIG_MAP:
            raise ClusterError(
                f"{obj['metadata']['name']} was not made by meshlib; it stays as it is", status=409
            )
    broken = Broken(number, fault.culprit, cluster, cfg)
    atexit.register(broken.revert)
    for added in fault.adds:
        marked = stamped(added, cluster.run_id)
        marked["metadata"]["labels"][FAULT] = str(number)
        cluster.create(marked)
    for step, obj in zip(fault.changes, before, strict=True):
        _break(cluster, step, obj)
    if fault.replaces_pod:
        pod = cluster.list("pods", cfg.namespace, labels=f"app={cfg.app}")[0]
        cluster.delete("pods", pod["metadata"]["name"], cfg.namespace)
        _settled(cluster, cfg, lambda pods: any(not proxies.form(each) for each in pods), "without a sidecar")
    return broken


def applied(obj: Obj) -> Obj:
    """Pure: what server-side apply by meshlib says about an object, read from its managedFields.

    Applying it again changes nothing, ownership included.  Where somebody else has edited the spec since, all
    of it is taken, so that it can be put back; its labels likewise.
    """
    meta = obj["metadata"]
    entries = [each for each in meta.get("managedFields", []) if not each.get("subresource")]
    ours = [each for each in entries if (each["manager"], each["operation"]) == (MANAGER, "Apply")]
    own: Obj = _owned(ours[0]["fieldsV1"], obj) if ours else {}
    others = [each["fieldsV1"] for each in entries if each not in ours]
    if any("f:spec" in fields for fields in others):
        own["spec"] = copy.deepcopy(obj["spec"])
    own["metadata"] = own.get("metadata", {}) | {k: meta[k] for k in ("name", "namespace") if k in meta}
    if any("f:labels" in fields.get("f:metadata", {}) for fields in others):
        own["metadata"]["labels"] = dict(meta["labels"])
    return own | {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}


def _owned(fields: Obj, value: Any) -> Any:
    if not set(fields) - {"."}:
        return copy.deepcopy(value)
    if isinstance(value, dict):
        return {
            key[2:]: _owned(below, value[key[2:]])
            for key, below in fields.items()
            if key.startswith("f:") and key[2:] in value
        }
    found = []
    for key, below in fields.items():
        if key.startswith("k:"):
            wanted = json.loads(key[2:])
            found += [_owned(below, item) for item in value if wanted.items() <= item.items()]
        elif key.startswith("v:"):
            found.append(json.loads(key[2:]))
    return found


def _break(cluster: Cluster, step: Change, obj: Obj) -> None:
    if step.name == mesh.CONFIG_MAP:
        changed = copy.deepcopy(obj)
        step.change(changed)
        note = {
            "annotations": {FAULT: json.dumps(obj["data"])},
            "resourceVersion": obj["metadata"]["resourceVersion"],
        }
        change = {"metadata": note, "data": changed["data"]}
        cluster.merge(step.resource, step.name, change, step.namespace, manager=MANAGER)
        return
    own = applied(obj)
    changed = copy.deepcopy(own)
    step.change(changed)
    changed["metadata"].setdefault("annotations", {})[FAULT] = json.dumps(own)
    cluster.apply(changed, manager=MANAGER)


def _restore(cluster: Cluster, resource: str, obj: Obj) -> None:
    meta = obj["metadata"]
    before = json.loads(meta["annotations"][FAULT])
    if meta["name"] == mesh.CONFIG_MAP:
        change = {"metadata": {"annotations": {FAULT: None}}, "data": before}
        cluster.merge(resource, meta["name"], change, meta["namespace"], manager=MANAGER)
        return
    cluster.apply(before, manager=MANAGER)


def revert_all(cluster: Cluster, cfg: Config) -> list[str]:
    """Put back everything that a fault changed or added, whoever broke it; returns what was put back."""
    done = []
    for resource in CHANGED:
        for obj in _within(cluster, cfg, resource):
            if FAULT in (obj["metadata"].get("annotations") or {}):
                _restore(cluster, resource, obj)
                done.append(f"{resource}/{obj['metadata']['name']}")
    for resource in ADDED:
        for obj in _within(cluster, cfg, resource, labels=FAULT):
            meta = obj["metadata"]
            cluster.delete(resource, meta["name"], meta["namespace"], uid=meta["uid"])
            done.append(f"{resource}/{meta['name']}")
    if f"{NAMESPACES}/{cfg.namespace}" in done:
        for pod in cluster.list("pods", cfg.namespace, labels=f"app={cfg.app}"):
            if not proxies.form(pod):
                cluster.delete("pods", pod["metadata"]["name"], cfg.namespace)
        _settled(cluster, cfg, lambda pods: all(map(proxies.form, pods)), "with their sidecars")
    return done


def mend_mesh(cluster: Cluster, cfg: Config) -> bool:
    """Put back what a fault changed in the mesh configuration, and nothing else; False where none did."""
    found = cluster.get("configmaps", mesh.CONFIG_MAP, cfg.istio_namespace)
    if FAULT not in (found["metadata"].get("annotations") or {}):
        return False
    _restore(cluster, "configmaps", found)
    return True


def _within(cluster: Cluster, cfg: Config, resource: str, labels: str = "") -> Iterator[Obj]:
    if resource == NAMESPACES:
        yield from cluster.list(resource, fields=f"metadata.name={cfg.namespace}")
        return
    for namespace in dict.fromkeys((cfg.namespace, cfg.istio_namespace)):
        try:
            yield from cluster.list(resource, namespace, labels=labels)
        except ClusterError as error:
            if error.status != 404:  # a kind that is not served has no objects
                raise


def _settled(cluster: Cluster, cfg: Config, holds: Callable[[list[Obj]], bool], what: str) -> None:
    deployment = cluster.get("deployments.apps", cfg.app, cfg.namespace)

    def probe() -> None:
        pods = cluster.list("pods", cfg.namespace, labels=f"app={cfg.app}")
        shown = ", ".join(f"{each['metadata']['name']} {proxies.ready(each)}" for each in pods)
        complete = len(pods) == deployment["spec"]["replicas"]
        ready = all(len(set(proxies.ready(each).split("/"))) == 1 for each in pods)
        if not (complete and ready and holds(pods)):
            raise wait.NotYet(shown)

    wait.until(probe, f"the pods of {cfg.app} {what}", timeout_s=cfg.timeout_s, interval_s=0.2)


def until(site: Site, holds: Callable[[Evidence], bool], *, timeout_s: float = 30.0) -> Evidence:
    """Ask for /healthz until the answer is as expected, three times in a row.

    Raises `WaitTimeout` with the last answer.
    """

    def probe() -> Evidence:
        for _ in range(3):
            seen = site.get("/healthz", timeout_s=2)
            if not holds(seen):
                raise wait.NotYet(seen.outcome)
        return seen

    return wait.until(probe, "the expected answer to /healthz", timeout_s=timeout_s, max_interval_s=0.2)


def until_broken(site: Site) -> Evidence:
    """Ask until /healthz is no longer answered with 200."""
    return until(site, lambda seen: seen.status != 200)


def until_healthy(site: Site) -> Evidence:
    """Ask until /healthz is answered with 200 again."""
    return until(site, lambda seen: seen.status == 200)
