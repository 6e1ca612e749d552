"""Mode 8: routes that lead nowhere, and settings of TLS that contradict each other (503)."""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.istio.diagnose.model import (
    ERROR,
    WARNING,
    Finding,
    Obj,
    Snapshot,
    endpoints,
    has_proxy,
    is_ready,
    labels,
    match_labels,
    name_of,
    selects,
    space,
    words,
)
from meshlib.istio.diagnose.route_rules import overlap


def destinations(service: Obj) -> Iterator[Obj]:
    """Every destination that gets traffic from a VirtualService, mirrors left out."""
    spec = service["spec"]
    for rule in [*(spec.get("http") or []), *(spec.get("tcp") or []), *(spec.get("tls") or [])]:
        targets = rule.get("route") or []
        for target in targets:
            if len(targets) == 1 or target.get("weight"):
                yield target["destination"]


def full_name(host: str, namespace: str) -> str:
    """A destination's host as istiod resolves it: a name without dots is of the same namespace."""
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}.svc.cluster.local"


def service_of(snapshot: Snapshot, host: str) -> Obj | None:
    """The Kubernetes Service behind a full host name."""
    parts = host.split(".")
    return snapshot.find("Service", parts[0], parts[1]) if len(parts) > 3 and parts[2] == "svc" else None


def dead_ends(snapshot: Snapshot) -> Iterator[Finding]:
    """Destinations that do not exist or have nothing ready behind them; TLS settings that contradict."""
    seen: set[tuple[str, str, str]] = set()
    for service in snapshot.all("VirtualService"):
        for destination in destinations(service):
            host = full_name(destination["host"], space(service))
            key = (host, str(destination.get("port", {}).get("number", "")), destination.get("subset", ""))
            if key in seen:
                continue
            seen.add(key)
            yield from _destination(snapshot, service, destination, host)


def _destination(snapshot: Snapshot, service: Obj, destination: Obj, host: str) -> Iterator[Finding]:
    this = f"VirtualService {name_of(service)}"
    edit = f"kubectl edit virtualservice {service['metadata']['name']} -n {space(service)}"
    absent = "Envoy has no such cluster and answers 503 (response flag NC)"
    target = service_of(snapshot, host)
    if target is None:
        entries = [name for each in snapshot.all("ServiceEntry") for name in each["spec"].get("hosts") or []]
        if not any(overlap(host, name) for name in entries):
            known = ", ".join(
                sorted(each["metadata"]["name"] for each in snapshot.all("Service", space(service)))
            )
            yield Finding(
                8,
                ERROR,
                f"{this} routes to a host that does not exist: {destination['host']}",
                f"no Service or ServiceEntry is {host}; Services in {space(service)}: {known or 'none'}",
                absent,
                edit,
                "IST0101",
            )
        return
    ports = target["spec"].get("ports") or []
    asked = (destination.get("port") or {}).get("number")
    if asked is None and len(ports) > 1:
        cause = "istiod cannot choose a port and makes no route"
        evidence = f"Service {name_of(target)} has the ports {', '.join(str(p['port']) for p in ports)}"
        yield Finding(8, ERROR, f"{this} names no port for {host}", evidence, cause, edit, "IST0112")
        return
    port = next((each for each in ports if asked in (None, each["port"])), None)
    if port is None:
        evidence = f"Service {name_of(target)} has the ports {', '.join(str(p['port']) for p in ports)}"
        yield Finding(8, ERROR, f"{this} routes to port {asked} of {host}", evidence, absent, edit, "IST0101")
        return
    rule = destination_rule(snapshot, host, space(target))
    if subset := destination.get("subset"):
        yield from _subset(snapshot, this, edit, host, target, rule, subset)
    yield from _pods(snapshot, target, port)
    if rule is not None:
        yield from _contradiction(snapshot, rule, target, port, destination.get("subset", ""))


def destination_rule(snapshot: Snapshot, host: str, namespace: str) -> Obj | None:
    """The DestinationRule of a host, looked for as a gateway does: root, then the service's namespace."""
    rules = [
        each
        for each in snapshot.all("DestinationRule")
        if overlap(host, full_name(each["spec"].get("host", ""), space(each)))
    ]
    for where in (snapshot.root, namespace):
        if found := next((each for each in rules if space(each) == where), None):
            return found
    return rules[0] if rules else None


def _subset(
    snapshot: Snapshot, this: str, edit: str, host: str, target: Obj, rule: Obj | None, subset: str
) -> Iterator[Finding]:
    defined = {
        each["name"]: each.get("labels") or {} for each in (rule or {"spec": {}})["spec"].get("subsets") or []
    }
    if subset not in defined:
        yield Finding(
            8,
            ERROR,
            f"{this} routes to the subset {subset} of {host}, which is not defined",
            f"DestinationRule {name_of(rule)}: {', '.join(defined) or 'no subsets'}"
            if rule
            else "no DestinationRule",
            "Envoy has no such cluster and answers 503 (response flag NC)",
            edit,
            "IST0101",
        )
    elif rule is not None and not snapshot.pods(
        {**target["spec"].get("selector", {}), **defined[subset]}, space(target)
    ):
        yield Finding(
            8,
            ERROR,
            f"subset {subset} of DestinationRule {name_of(rule)} has no pods",
            f"no pod of Service {name_of(target)} has the labels {words(defined[subset])}",
            "the cluster is empty: 503 (response flag UH)",
            f"kubectl edit destinationrule {rule['metadata']['name']} -n {space(rule)}",
            "IST0173",
        )


def _pods(snapshot: Snapshot, target: Obj, port: Obj) -> Iterator[Finding]:
    name, namespace = target["metadata"]["name"], space(target)
    selector = target["spec"].get("selector") or {}
    empty = "a Service without ready pods is an empty cluster: 503 (response flag UH)"
    edit = f"kubectl edit service {name} -n {namespace}"
    if not selector:
        return
    pods = snapshot.pods(selector, namespace)
    if not pods:
        there = sorted({words(dict(labels(pod))) for pod in snapshot.pods({}, namespace)})
        evidence = f"selector {words(selector)}; pods in {namespace}: {'; '.join(there) or 'none'}"
        fix = edit if there else f"kubectl get deployments,replicasets,events -n {namespace}"
        yield Finding(8, ERROR, f"Service {namespace}/{name} selects no pod", evidence, empty, fix)
        return
    wanted = port.get("targetPort", port["port"])
    offered = {
        each.get(key)
        for pod in pods
        for container in pod["spec"]["containers"]
        for each in container.get("ports") or []
        for key in ("name", "containerPort")
    }
    if wanted not in offered and (isinstance(wanted, str) or len(offered - {None}) > 0):
        shown = ", ".join(sorted(str(each) for each in offered - {None}))
        yield Finding(
            8,
            ERROR,
            f"Service {namespace}/{name} sends port {port['port']} to {wanted}, which no container has",
            f"containerPorts of its pods: {shown or 'none'}",
            "a named port without its namesake gives no endpoints, a wrong number refuses connections: 503",
            edit,
        )
    elif not any(is_ready(pod) for pod in pods) or not endpoints(snapshot, name, namespace):
        shown = ", ".join(f"{pod['metadata']['name']} is {_state(pod)}" for pod in pods)
        fix = f"kubectl describe pod {pods[0]['metadata']['name']} -n {namespace}"
        yield Finding(8, ERROR, f"no pod of Service {namespace}/{name} is ready", shown, empty, fix)


def _state(pod: Obj) -> str:
    status = pod.get("status", {})
    for each in status.get("containerStatuses") or []:
        if waiting := (each.get("state") or {}).get("waiting"):
            return f"{waiting.get('reason', 'waiting')} ({each['name']})"
    return "not ready" if status.get("phase") == "Running" else str(status.get("phase", "unknown"))


def mtls_mode(snapshot: Snapshot, pod: Obj, port: int | None) -> str:
    """What PeerAuthentications ask of a pod's port: the workload's, the namespace's, the mesh's."""
    policies = sorted(
        snapshot.all("PeerAuthentication"), key=lambda each: each["metadata"].get("creationTimestamp", "")
    )
    own = [each for each in policies if space(each) == space(pod)]
    layers = [
        [each for each in own if match_labels(each) and selects(match_labels(each), labels(pod))],
        [each for each in own if not match_labels(each)],
        [each for each in policies if space(each) == snapshot.root and not match_labels(each)],
    ]
    for layer in layers:
        for policy in layer[:1]:
            spec = policy.get("spec") or {}
            by_port = {int(number): each for number, each in (spec.get("portLevelMtls") or {}).items()}
            mode = (by_port.get(port) if port in by_port else spec.get("mtls") or {}) or {}
            if mode.get("mode", "UNSET") != "UNSET":
                return str(mode["mode"])
    return "PERMISSIVE"


def client_tls(rule: Obj, port: int, subset: str) -> str:
    """tls.mode of a DestinationRule for a Service port, "" when it does not say (auto mTLS)."""
    policies = [
        each.get("trafficPolicy") or {}
        for each in rule["spec"].get("subsets") or []
        if each["name"] == subset
    ]
    for policy in [*policies, rule["spec"].get("trafficPolicy") or {}]:
        for each in policy.get("portLevelSettings") or []:
            if (each.get("port") or {}).get("number") == port:
                return str((each.get("tls") or {}).get("mode", ""))
        if "tls" in policy:
            return str(policy["tls"].get("mode", "DISABLE"))
    return ""


def _contradiction(snapshot: Snapshot, rule: Obj, target: Obj, port: Obj, subset: str) -> Iterator[Finding]:
    mode = client_tls(rule, port["port"], subset)
    fix = f"kubectl edit destinationrule {rule['metadata']['name']} -n {space(rule)}"
    for pod in snapshot.pods(target["spec"].get("selector") or {"": ""}, space(target))[:1]:
        number = port.get("targetPort", port["port"])
        asked = mtls_mode(snapshot, pod, _container_port(pod, number)) if has_proxy(pod) else "no sidecar"
        wrong = (mode in ("DISABLE", "SIMPLE", "MUTUAL") and asked == "STRICT") or (
            mode == "ISTIO_MUTUAL" and asked in ("DISABLE", "no sidecar")
        )
        if wrong:
            yield Finding(
                8,
                ERROR,
                f"DestinationRule {name_of(rule)} and the workload disagree about mutual TLS",
                f"tls.mode {mode} for {rule['spec']['host']}; the workload: {asked}",
                "the client's proxy does not speak what the server's demands: 503 (response flags UF, UC)",
                fix,
            )
        elif mode in ("SIMPLE", "MUTUAL") and asked == "PERMISSIVE":
            yield Finding(
                8,
                WARNING,
                f"DestinationRule {name_of(rule)} starts TLS of its own to a workload of the mesh",
                f"tls.mode {mode} for {rule['spec']['host']}",
                "a sidecar hands such TLS to the application unopened: 503 unless that speaks TLS itself",
                fix,
            )


def _container_port(pod: Obj, wanted: int | str | None) -> int | None:
    if isinstance(wanted, int):
        return wanted
    ports = [port for each in pod["spec"]["containers"] for port in each.get("ports") or []]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == wanted), None)
