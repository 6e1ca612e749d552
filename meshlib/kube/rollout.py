"""Waits for Deployments, with the reason that a pod itself gives when it takes too long."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from meshlib import wait
from meshlib.kube.client import Cluster, Obj

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


def is_ready(cluster: Cluster, namespace: str, names: Iterable[str], *, timeout_s: float = 120.0) -> None:
    """Wait until every named Deployment is rolled out and available (`kubectl rollout status`)."""
    for name in names:
        wait.until(
            lambda name=name: _rolled_out(cluster, namespace, name),  # type: ignore[misc]
            f"deployment {namespace}/{name}",
            timeout_s=timeout_s,
            fix=f"kubectl describe pods -n {namespace}",
        )


def restart(cluster: Cluster, namespace: str, name: str, *, timeout_s: float = 120.0) -> None:
    """Replace a Deployment's pods (`kubectl rollout restart`) and wait until the new ones are ready."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    change = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}}
    cluster.merge("deployments.apps", name, change, namespace, manager="kubectl-rollout")
    is_ready(cluster, namespace, [name], timeout_s=timeout_s)


def _rolled_out(cluster: Cluster, namespace: str, name: str) -> None:
    deployment = cluster.get("deployments.apps", name, namespace)
    if (missing := unfinished(deployment)) is None:
        return
    selector = ",".join(
        f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items()
    )
    pods = cluster.list("pods", namespace, labels=selector)
    raise wait.NotYet("; ".join([missing, *reasons(pods)]))


def reasons(pods: Iterable[Obj]) -> list[str]:
    """Why pods are not ready: each reason once, after the first that gives it and the number of others."""
    by_words: dict[str, list[str]] = {}
    for reason in sorted({reason for pod in pods for reason in pod_reasons(pod)}):
        who, _, words = reason.partition(": ")
        by_words.setdefault(words, []).append(who)
    return [
        f"{first}{f' and {len(others)} more' if others else ''}: {words}"
        for words, (first, *others) in by_words.items()
    ]


def unfinished(deployment: Obj) -> str | None:
    """What a rollout still lacks, or None when it is complete; the rules of `kubectl rollout status`."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "the controller has not seen the change yet"
    if (updated := status.get("updatedReplicas", 0)) < wanted:
        return f"{updated} of {wanted} replicas updated"
    if (total := status.get("replicas", 0)) > updated:
        return f"{total - updated} old replicas are still there"
    if (available := status.get("availableReplicas", 0)) < wanted:
        return f"{available} of {wanted} replicas available"
    return None


def pod_reasons(pod: Obj) -> list[str]:
    """Why a pod is not ready, as it says itself: waiting containers, failed conditions."""
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    found = [
        f"{name}: {each['type']} is false: {each.get('reason', '')} {each.get('message', '')}".strip()
        for each in status.get("conditions", [])
        if each["type"] == "PodScheduled" and each["status"] == "False"
    ]
    if not status.get("conditions"):
        found.append(f"{name}: no component has reported anything yet")
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = container.get("state", {})
        who = f"{name}/{container['name']}"
        if waiting := state.get("waiting"):
            found.append(f"{who}: {waiting.get('reason', '')} {waiting.get('message', '')}".strip())
        elif (ended := state.get("terminated")) and ended.get("exitCode"):
            found.append(f"{who}: ended with code {ended['exitCode']} {ended.get('message', '')}".strip())
        elif not container.get("ready") and "running" in state:
            found.append(f"{who}: running, not ready")
    if status.get("reason"):
        found.append(f"{name}: {status['reason']} {status.get('message', '')}".strip())
    return found
