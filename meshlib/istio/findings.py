"""Pure: what the objects of a cluster say about one need of a run, as a row of the preflight table.

A row is (Need, Verdict, Found, Repair).  `LATER` means that a later step of the run brings it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshlib.istio import support
from meshlib.istio.webhooks import INJECT, REVISION
from meshlib.kube.apply import MANAGER, is_ours

Obj = dict[str, Any]
Row = tuple[str, str, str, str]

OK, WARN, LATER, FAIL = "ok", "warning", "later", "FAIL"
MANAGED = "managed"
TAG = "istio.io/tag"
AMBIENT = "istio.io/dataplane-mode"
GROUPS = ("networking.istio.io", "security.istio.io", "telemetry.istio.io")
SERVED = ("v1", "v1beta1", "v1alpha1")
PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")


def versions(istio: str, kubernetes: str) -> Row:
    """The pair of versions against the dated matrix; a minor that the matrix does not know is a FAIL."""
    need = f"Istio {istio} supports this Kubernetes"
    found = support.warnings(istio, kubernetes)
    if support.verdict(istio, kubernetes) == "unknown":
        newest = max(support.MATRIX)
        return need, FAIL, "; ".join(found), f"set istio_version to a minor up to 1.{newest}"
    if not found:
        return need, OK, f"supported, by the table of {support.AS_OF}", ""
    return need, WARN, "; ".join(found), "choose an istio_version whose row names this Kubernetes"


def rights(asked: Sequence[tuple[str, str, str, bool]], read_only: bool) -> Row:
    """(verb, resource, namespace, allowed) of every right that the chosen notebooks use."""
    need = f"{len(asked)} rights that the notebooks use"
    denied = [(verb, resource, namespace) for verb, resource, namespace, allowed in asked if not allowed]
    if not denied:
        return need, OK, "all allowed", ""
    names = [f"{verb} {resource} in {namespace or 'the cluster'}" for verb, resource, namespace in denied]
    repair = "ask for these rights: meshlib schedule cronjob prints the Roles"
    return need, WARN if read_only else FAIL, f"denied: {', '.join(names)}", repair


def control_plane(planes: Sequence[Mapping[str, str]], method: str, wanted: str, upgrade: bool) -> Row:
    """The Istio that is there (Revision, Version, Installed by) against the method and version asked for."""
    need = "an Istio of the wanted version, or room for one"
    there = ", ".join(
        f"Istio {each['Version'] or 'without a version'} (revision {each['Revision'] or 'default'}, "
        f"by {each['Installed by']})"
        for each in planes
    )
    if not planes:
        if method == "existing":
            return need, FAIL, "there is none, and install_method is existing", "set install_method: istioctl"
        return need, LATER, f"there is none; step 01 installs {wanted} by {method}", ""
    if all(each["Installed by"] == MANAGED for each in planes):
        return need, WARN, f"{there}: a managed control plane does not show its version here", ""
    strange = [each["Version"] for each in planes if not support.known(each["Version"])]
    if strange:
        repair = f"the table of {support.AS_OF} ends with 1.{max(support.MATRIX)}: update meshlib"
        return need, FAIL, f"{there}: {', '.join(strange)} is not in the support matrix", repair
    if any(support.minor(each["Version"]) == support.minor(wanted) for each in planes):
        return need, OK, there, ""
    theirs = [each for each in planes if each["Installed by"] != MANAGER]
    if method == "existing" or (theirs and not upgrade):
        return need, FAIL, f"{there}, wanted {wanted}", f"set istio_version: {planes[0]['Version']}"
    if not upgrade:
        return (
            need,
            FAIL,
            f"{there}, wanted {wanted}; an upgrade in place was not asked for",
            ("set istio_upgrade: true, or istio_version to what is there"),
        )
    return need, WARN, f"{there}, will become {wanted}: an upgrade in place", ""


def revisions(planes: Sequence[Mapping[str, str]], injectors: Sequence[Obj]) -> Row:
    """Whether the label `istio-injection=enabled` reaches a control plane, and which revisions and tags
    there are."""
    need = f"a control plane for namespaces with {INJECT}=enabled"
    if not planes:
        return need, LATER, "comes with Istio", ""
    labels = [each["metadata"].get("labels") or {} for each in injectors]
    tags = {each[TAG]: each.get(REVISION, "") for each in labels if TAG in each}
    names = sorted({each["Revision"] or "default" for each in planes})
    found = f"revisions {', '.join(names)}; tags {', '.join(f'{k} → {v}' for k, v in tags.items()) or 'none'}"
    if any(_selects_enabled(hook) for each in injectors for hook in each["webhooks"]):
        return need, OK, found, ""
    return (
        need,
        FAIL,
        f"{found}; none of them is the default",
        (f"istioctl tag set default --revision {names[0]}"),
    )


def _selects_enabled(hook: Obj) -> bool:
    selector = hook.get("namespaceSelector") or {}
    if (selector.get("matchLabels") or {}).get(INJECT) == "enabled":
        return True
    return any(
        rule["key"] == INJECT and rule["operator"] == "In" and "enabled" in rule.get("values", [])
        for rule in selector.get("matchExpressions") or []
    )


def served(by_group: Mapping[str, Sequence[str]], istio_there: bool) -> Row:
    """The versions of Istio's API groups that the server serves."""
    need = "Istio's kinds, as v1 or v1beta1"
    found = ", ".join(f"{group}: {' '.join(by_group.get(group) or ['none'])}" for group in GROUPS)
    missing = [group for group in GROUPS if not set(by_group.get(group, ())) & set(SERVED)]
    if not missing:
        return need, OK, found, ""
    if not istio_there:
        return need, LATER, "come with Istio", ""
    return need, FAIL, found, "kubectl get crd | grep istio.io    # the base chart lacks or is too old"


def webhooks(hooks: Sequence[tuple[str, bool, int]], istio_there: bool) -> Row:
    """(name, whether it has a CA bundle, ready endpoints of its Service) of each of Istio's webhooks."""
    need = "Istio's webhooks can be called"
    bad = [
        f"{name}: {'no ready endpoint' if bundle else 'no CA bundle'}"
        for name, bundle, endpoints in hooks
        if not bundle or not endpoints
    ]
    if bad:
        return (
            need,
            FAIL,
            "; ".join(bad),
            ("kubectl get pods -n istio-system -l app=istiod    # dead webhooks refuse pods"),
        )
    if not hooks:
        return (
            (need, FAIL, "there are none", "istioctl install, or helm upgrade istiod")
            if istio_there
            else (need, LATER, "come with Istio", "")
        )
    return need, OK, ", ".join(sorted({name for name, _, _ in hooks})), ""


def resumed(row: Row) -> Row:
    """A row about Istio where what is there is of a run of ours that was ended: step 01 brings the rest."""
    need, verdict, found, _ = row
    if verdict != FAIL:
        return row
    return need, LATER, f"{found}; an earlier run was ended here, and step 01 goes on with it", ""


def ambient(namespace: Obj | None, ztunnel: bool) -> Row:
    """Ambient mode is out of scope: said, and refused where the namespace is in it."""
    need = "sidecars, not ambient mode"
    mode = ((namespace or {"metadata": {}})["metadata"].get("labels") or {}).get(AMBIENT, "")
    if mode == "ambient":
        name = namespace["metadata"]["name"] if namespace else ""
        return (
            need,
            FAIL,
            f"namespace {name} is in ambient mode, which the notebooks do not know",
            (f"kubectl label namespace {name} {AMBIENT}-"),
        )
    if ztunnel:
        return need, WARN, "the cluster has ztunnel (ambient mode); the namespace is not in it", ""
    return need, OK, "no ztunnel", ""


def owners(wanted: Sequence[tuple[str, Obj | None]]) -> Row:
    """(what, the object of that name or None): whether anything that the run makes exists already and is
    somebody else's."""
    need = "no object of somebody else has a name that the run uses"
    foreign = [what for what, obj in wanted if obj is not None and not is_ours(obj)]
    if foreign:
        return (
            need,
            FAIL,
            f"not made by meshlib: {', '.join(foreign)}",
            ("choose other names in the parameters (namespace, gateway_name, …)"),
        )
    return need, OK, "the names are free, or ours", ""


def foreign_gateways(gateways: Sequence[Obj], host: str) -> Row:
    """Gateways of others that publish the same host: the older one keeps it, requests go astray."""
    need = f"no other Gateway publishes {host}"
    same, wide = [], []
    for each in gateways:
        if is_ours(each):
            continue
        title = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        names = {
            entry.rpartition("/")[2]
            for server in each["spec"].get("servers", [])
            for entry in server["hosts"]
        }
        if host in names:
            same.append(title)
        elif any(_covers(name, host) for name in names):
            wide.append(title)
    if same:
        return (
            need,
            FAIL,
            f"published by {', '.join(same)}",
            "set host to another name",
        )
    if wide:
        return need, WARN, f"a wildcard covers it in {', '.join(wide)}", "a Gateway with the exact host wins"
    return need, OK, "nobody else does", ""


def _covers(pattern: str, host: str) -> bool:
    return pattern == "*" or (pattern.startswith("*.") and host.endswith(pattern[1:]) and host != pattern[2:])


def nodes(found: Sequence[Obj]) -> Row:
    """At least one node, all of them ready."""
    need = "nodes that are ready"
    unready = [
        node["metadata"]["name"]
        for node in found
        if not any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in node["status"].get("conditions", [])
        )
    ]
    if unready or not found:
        return need, FAIL, f"not ready: {', '.join(unready) or 'there is none'}", "kubectl get nodes"
    return need, OK, ", ".join(node["metadata"]["name"] for node in found), ""


def load_balancer(services: Sequence[Obj]) -> Row:
    """Whether something hands out addresses to Services of type LoadBalancer."""
    need = "addresses for LoadBalancer Services"
    asked = [each for each in services if each["spec"].get("type") == "LoadBalancer"]
    pending = [
        f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        for each in asked
        if not (each.get("status", {}).get("loadBalancer") or {}).get("ingress")
    ]
    if not asked:
        return (
            need,
            LATER,
            "no Service asks for one yet; a node port or port-forward serves too",
            "",
        )
    if pending:
        return (
            need,
            WARN,
            f"<pending>: {', '.join(pending)}",
            ("install MetalLB or cloud-provider-kind, or set ingress_address; a port-forward serves too"),
        )
    return need, OK, f"{len(asked)} Services have one", ""


def image(wanted: str, found_nodes: Sequence[Obj], pods: Sequence[Obj]) -> Row:
    """Whether the image of the HTTP server gets onto a node: one has it, or a pod failed to pull it."""
    need = f"the image {wanted}"
    for pod in pods:
        for each in pod.get("status", {}).get("containerStatuses", []):
            waiting = each.get("state", {}).get("waiting", {})
            if waiting.get("reason") in PULL_REASONS:
                name = pod["metadata"]["name"]
                return (
                    need,
                    WARN,
                    f"{name}: {waiting['reason']} {waiting.get('message', '')}".strip(),
                    (f"docker pull {wanted}    # on a node, or set image"),
                )
    short = wanted.removeprefix("docker.io/")
    for node in found_nodes:
        for entry in node["status"].get("images") or []:
            if any(name.removeprefix("docker.io/") == short for name in entry.get("names") or []):
                return need, OK, f"on node {node['metadata']['name']}", ""
    return need, LATER, "on no node yet; step 04 pulls it and says why if it cannot", ""


def backend(services: Sequence[Obj]) -> Row:
    """A tracing backend: the Service `tracing`, ours or somebody else's."""
    need = "a tracing backend"
    found = [each for each in services if each["metadata"]["name"] == "tracing"]
    if not found:
        return need, LATER, "no Service tracing; step 06 installs Jaeger", ""
    whose = "meshlib" if is_ours(found[0]) else "somebody else"
    return need, OK, f"Service {found[0]['metadata']['namespace']}/tracing, made by {whose}", ""


def leftovers(runs: Sequence[str]) -> Row:
    """The runs that left objects with our label, one entry an object."""
    need = "nothing left of an earlier run"
    if not runs:
        return need, OK, "nothing", ""
    names = ", ".join(sorted(set(runs) - {""})) or "unknown runs"
    return need, WARN, f"{len(runs)} objects of {names}; they are taken over", "meshlib run --only 90"
