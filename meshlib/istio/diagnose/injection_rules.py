"""Mode 7: pods without a sidecar, and an istiod that cannot inject one."""

from __future__ import annotations

from collections.abc import Iterator

from meshlib.istio.diagnose.model import (
    ERROR,
    WARNING,
    Finding,
    Obj,
    Snapshot,
    annotations_of,
    endpoints,
    has_proxy,
    labels,
    name_of,
    space,
)
from meshlib.istio.diagnose.upstream_rules import destinations, full_name, service_of

INJECTION, REVISION, INJECT = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"
IGNORED = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")


def injected(namespace: Obj) -> bool:
    """Whether a namespace's labels ask for sidecars."""
    carried = labels(namespace)
    value = carried.get(INJECTION)
    return value == "enabled" or (value is None and bool(carried.get(REVISION)))


def control_plane(snapshot: Snapshot) -> Iterator[Finding]:
    """No istiod, no injection webhook, or one without a caBundle or a running Service."""
    if not any(injected(each) for each in snapshot.all("Namespace")):
        return
    hooks = [
        (each, hook)
        for each in snapshot.all("MutatingWebhookConfiguration")
        for hook in each.get("webhooks") or []
        if "sidecar-injector" in hook["name"]
    ]
    stopped = "pods that need a sidecar are refused; proxies that run keep their last configuration"
    if not hooks:
        evidence = "no MutatingWebhookConfiguration has a webhook *.sidecar-injector.istio.io"
        fix = "meshlib run --only 01   # or: istioctl install"
        yield Finding(
            7, ERROR, "there is no injection webhook", evidence, "pods start without a sidecar", fix
        )
        return
    for name, namespace in dict.fromkeys(_service(hook) for _, hook in hooks if _service(hook)[0]):
        if not endpoints(snapshot, name, namespace):
            evidence = f"Service {namespace}/{name}, which the webhook calls, has no ready endpoint"
            fix = f"kubectl scale deployment/{name} -n {namespace} --replicas=1"
            yield Finding(7, ERROR, "istiod does not run", evidence, stopped, fix)
    for configuration in {each["metadata"]["name"]: each for each, _ in hooks}.values():
        if not all(hook["clientConfig"].get("caBundle") for hook in configuration["webhooks"]):
            name = configuration["metadata"]["name"]
            evidence = f"MutatingWebhookConfiguration {name}: clientConfig.caBundle is empty"
            cause = "the API server cannot verify istiod and refuses every pod"
            fix = f"kubectl rollout restart deployment/istiod -n {snapshot.root}"
            yield Finding(7, ERROR, "the injection webhook has no CA", evidence, cause, fix)


def _service(hook: Obj) -> tuple[str, str]:
    service = hook["clientConfig"].get("service") or {}
    return service.get("name", ""), service.get("namespace", "")


def sidecars(snapshot: Snapshot) -> Iterator[Finding]:
    """Namespaces with a label that does nothing, and pods without the sidecar that they should have."""
    used = _destinations(snapshot)
    for namespace in snapshot.all("Namespace"):
        name = namespace["metadata"]["name"]
        if name in IGNORED or name == snapshot.root:
            continue
        pods = snapshot.pods({}, name)
        bare = [pod for pod in pods if not has_proxy(pod)]
        value = labels(namespace).get(INJECTION)
        if value is not None and labels(namespace).get(REVISION):
            yield Finding(
                7,
                WARNING,
                f"namespace {name} has both injection labels",
                f"{INJECTION}={value} and {REVISION}={labels(namespace)[REVISION]}",
                f"{INJECTION} wins and the revision is ignored",
                f"kubectl label namespace {name} {REVISION}-",
                "IST0123",
            )
        if not injected(namespace):
            concerned = (
                value not in (None, "disabled")
                or any(map(has_proxy, pods))
                or (used & set(map(name_of, pods)))
            )
            if concerned:
                yield _unlabelled(name, value, pods, bare)
        else:
            yield from _bare(snapshot, name, bare, used)


def _destinations(snapshot: Snapshot) -> set[str]:
    """The pods that a VirtualService on a gateway routes to."""
    found = set()
    for service in snapshot.all("VirtualService"):
        if not set(service["spec"].get("gateways") or ["mesh"]) - {"mesh"}:
            continue
        for destination in destinations(service):
            target = service_of(snapshot, full_name(destination["host"], space(service)))
            if target is not None and (selector := target["spec"].get("selector")):
                found |= {name_of(pod) for pod in snapshot.pods(selector, space(target))}
    return found


def _unlabelled(name: str, value: str | None, pods: list[Obj], bare: list[Obj]) -> Finding:
    is_now = f"{INJECTION}={value}" if value is not None else f"neither {INJECTION} nor {REVISION}"
    some = f"{len(bare)} of {len(pods)} pods have no istio-proxy"
    return Finding(
        7,
        ERROR,
        f"namespace {name} is not enabled for injection",
        f"its labels say {is_now}; {some}",
        f"only {INJECTION}=enabled (exactly), or a revision, makes new pods get a sidecar",
        f"kubectl label namespace {name} {INJECTION}=enabled --overwrite"
        + (f" && kubectl rollout restart deployment -n {name}" if bare else ""),
        "IST0102",
    )


def _bare(snapshot: Snapshot, name: str, bare: list[Obj], used: set[str]) -> Iterator[Finding]:
    for pod in bare:
        opted_out = INJECT in labels(pod) or INJECT in annotations_of(pod)
        if opted_out and name_of(pod) not in used:
            continue
        cause, fix = _why(pod, opted_out, name)
        yield Finding(
            7,
            ERROR,
            f"pod {name_of(pod)} has no sidecar",
            "the namespace is enabled; istio-proxy is neither in containers nor in initContainers",
            cause,
            fix,
            "IST0103",
        )


def _why(pod: Obj, opted_out: bool, namespace: str) -> tuple[str, str]:
    restart = f"kubectl rollout restart deployment -n {namespace}"
    owner = next(iter(pod["metadata"].get("ownerReferences") or []), {"name": pod["metadata"]["name"]})
    workload = (
        str(owner["name"]).rpartition("-")[0] if owner.get("kind") == "ReplicaSet" else str(owner["name"])
    )
    if opted_out:
        value = labels(pod).get(INJECT) or annotations_of(pod).get(INJECT)
        remove = '{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":null}}}}}'
        return (
            f"its pod template opts out with {INJECT}={value}",
            f"kubectl patch deployment {workload} -n {namespace} --type merge -p '{remove}'",
        )
    if pod["spec"].get("hostNetwork"):
        return (
            "pods with hostNetwork are never injected",
            f"kubectl edit deployment {workload} -n {namespace}",
        )
    return "it is older than the label, or istiod could not be reached when it was made", restart
