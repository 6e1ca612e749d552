"""A plan as an indexed Kubernetes Job: its objects, and from the logs of its pods one result (pure).

Each pod is a worker with its share of the plan. The whole plan is a ConfigMap, a client certificate a Secret;
both belong to the Job and go with it. A pod's annotations, which it sees through the downward API, say when
to start: one time for all, set once all of them run. `meshlib.istio.load_job` sends this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from meshlib.errors import MeshlibError
from meshlib.load.engine import Outcome
from meshlib.load.plan import Plan
from meshlib.load.result import LoadResult

Obj = dict[str, Any]

INDEX = "JOB_COMPLETION_INDEX"  # set by Kubernetes in each pod of an indexed Job
FOLDER = "/etc/meshlib/load"
PLAN, ANNOTATIONS, CACERT, CERT, KEY = "plan.json", "annotations", "cacert.pem", "cert.pem", "key.pem"
START_AT, STOP = "meshlib.dev/start-at", "meshlib.dev/stop"  # Unix time in s; any text
CONTAINER = "worker"
REPORT = "meshlib-load-report "
LARGEST = 900_000  # bytes of a ConfigMap; Kubernetes refuses 1 MiB
LATE_S = 0.05


class Report(msgspec.Struct):
    """What one pod printed: its number, how late it began, what it found."""

    index: int
    late_s: float
    outcome: Outcome


def line(report: Report) -> str:
    """The report as a line of a pod's log."""
    return REPORT + msgspec.json.encode(report).decode()


def report_of(log: str) -> Report | None:
    """The report in a pod's log, None where it holds none."""
    lines = [text for text in log.splitlines() if text.startswith(REPORT)]
    return msgspec.json.decode(lines[-1].removeprefix(REPORT), type=Report) if lines else None


def annotation(text: str, name: str) -> str | None:
    """One annotation from the downward API's file, in which each line is `name="value"`."""
    found = re.search(rf'^{re.escape(name)}="(.*)"$', text, re.MULTILINE)
    return found[1] if found else None


def with_files_in(plan: Plan, folder: Path) -> Plan:
    """The plan with the certificates that lie in `folder` instead of the sender's."""
    names = {"cacert": CACERT, "cert": CERT, "key": KEY}
    moved = {field: str(folder / file) for field, file in names.items() if getattr(plan, field) is not None}
    return msgspec.structs.replace(plan, **moved)


def findings(plan: Plan) -> list[str]:
    """What of a plan that is right otherwise does not fit into a Job, a line each."""
    size = sum(len(text) for text in _shared(plan).values())
    if size > LARGEST:
        return [
            f"job: plan and authorities are {size:,} bytes, a ConfigMap takes {LARGEST:,}: shorten the bodies"
        ]
    return []


def _shared(plan: Plan) -> dict[str, str]:
    found = {PLAN: msgspec.json.encode(plan).decode()}
    return found | ({CACERT: Path(plan.cacert).read_text()} if plan.cacert else {})


def job(plan: Plan, name: str, namespace: str, image: str, *, limit_s: float) -> Obj:
    """The Job: `plan.workers` pods at once, none of them a second time, without a sidecar of their own."""
    sources: list[Obj] = [{"configMap": {"name": name}}]
    if plan.cert:
        sources.append({"secret": {"name": name}})
    field = {"fieldPath": "metadata.annotations"}
    sources.append({"downwardAPI": {"items": [{"path": ANNOTATIONS, "fieldRef": field}]}})
    container = {
        "name": CONTAINER,
        "image": image,
        "command": ["python", "-m", "meshlib.load.worker", FOLDER],
        "volumeMounts": [{"name": "load", "mountPath": FOLDER, "readOnly": True}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    labels = {"app.kubernetes.io/name": "meshlib-load", "sidecar.istio.io/inject": "false"}
    apart = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "meshlib-load"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    spread = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        "affinity": {"podAntiAffinity": spread},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "load", "projected": {"sources": sources, "defaultMode": 0o440}}],
    }
    spec = {
        "completionMode": "Indexed",
        "completions": plan.workers,
        "parallelism": plan.workers,
        "backoffLimit": 0,
        "activeDeadlineSeconds": round(limit_s),
        "ttlSecondsAfterFinished": 600,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _meta(name, namespace), "spec": spec}


def belongings(plan: Plan, made: Obj) -> list[Obj]:
    """The ConfigMap and, with a client certificate, the Secret of a Job that is there."""
    name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made["metadata"]["uid"]}
    meta = _meta(name, namespace) | {"ownerReferences": [owner]}
    found: list[Obj] = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": _shared(plan)}]
    if plan.cert and plan.key:
        texts = {CERT: Path(plan.cert).read_text(), KEY: Path(plan.key).read_text()}
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": texts})
    return found


def _meta(name: str, namespace: str) -> Obj:
    labels = {"app.kubernetes.io/managed-by": "meshlib", "app.kubernetes.io/name": "meshlib-load"}
    return {"name": name, "namespace": namespace, "labels": labels}


def result(plan: Plan, reports: Sequence[Report]) -> LoadResult:
    """One result of all pods. Raises `MeshlibError` when a worker's report is missing."""
    by_index = {report.index: report for report in reports}
    if missing := [index for index in range(plan.workers) if index not in by_index]:
        raise MeshlibError(f"no report of worker {', '.join(map(str, missing))} of {plan.workers}")
    late = [report for report in by_index.values() if report.late_s > LATE_S]
    notes = [f"worker {each.index} began {each.late_s:.2f} s late" for each in late]
    return LoadResult(plan, [report.outcome for report in by_index.values()], None, notes=tuple(notes))
