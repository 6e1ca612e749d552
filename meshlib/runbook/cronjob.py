"""A Kubernetes CronJob that runs the runbook inside the cluster that it looks at."""

from __future__ import annotations

import json
from typing import Any

import yaml

from meshlib.istio.needs import OBSERVERS, Right, rights, roles
from meshlib.kube.apply import KEEP, MANAGED_BY, MANAGER
from meshlib.runbook.schedule import Plan

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "in-cluster",
    "contexts": [{"name": "in-cluster", "context": {"cluster": "here", "user": "me"}}],
    "clusters": [
        {
            "name": "here",
            "cluster": {
                "server": "https://kubernetes.default.svc",
                "certificate-authority": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            },
        }
    ],
    "users": [{"name": "me", "user": {"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}}],
}


def objects(plan: Plan) -> list[dict[str, Any]]:
    """Namespace, account, rights (to read, mostly), parameters, volume, CronJob, in order of creation."""
    name, namespace = "meshlib", plan.namespace
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": name}}
    values = plan.config.as_dict() | {
        "target": "kubeconfig",
        "kubeconfig": "/etc/meshlib/kubeconfig",
        "context": "in-cluster",
        "confirm_context": "" if plan.config.read_only else "in-cluster",
        "install_method": "existing",
    }
    values.pop("run_id", None)
    account = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
    ]
    if not plan.config.read_only:
        kept = {"labels": {MANAGED_BY: MANAGER}, "annotations": {KEEP: "true"}}
        workload = {"name": plan.config.namespace, **kept}
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": workload})
    for place, rules in roles(_rights(plan)).items():
        kind = "Role" if place else "ClusterRole"
        found.append(_role(kind, name, place or None, rules))
        found.append(_binding(f"{kind}Binding", name, place or None, kind, account))
    found += [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {
                "parameters.yaml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()),
                "kubeconfig": yaml.safe_dump(KUBECONFIG, sort_keys=False),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": meta,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        },
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": _job(plan, name)},
    ]
    return found


def _rights(plan: Plan) -> list[Right]:
    """The rights of every notebook, or only those of the observing ones; Istio is there already, and so is
    the workload's namespace."""
    return rights(plan.config, OBSERVERS if plan.config.read_only else (), kept=True)


def _role(kind: str, name: str, namespace: str | None, rules: list[dict[str, Any]]) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **place}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _binding(
    kind: str, name: str, namespace: str | None, role: str, subjects: list[dict[str, str]]
) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, **place},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name},
        "subjects": subjects,
    }


def _job(plan: Plan, name: str) -> dict[str, Any]:
    container = {
        "name": name,
        "image": plan.image,
        "command": ["meshlib"],
        "args": ["run", "--parameters", "/etc/meshlib/parameters.yaml", "--out", "/outputs"],
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/meshlib", "readOnly": True},
            {"name": "outputs", "mountPath": "/outputs"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if plan.config.webhook_url_env:
        reference = {"name": "meshlib-webhook", "key": "url", "optional": True}
        variable = {"name": plan.config.webhook_url_env, "valueFrom": {"secretKeyRef": reference}}
        container["env"] = [{"name": "HOME", "value": "/tmp"}, variable]
    pod = {
        "serviceAccountName": name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "outputs", "persistentVolumeClaim": {"claimName": name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }  # fmt: skip
    return {
        "schedule": plan.cron,
        "timeZone": plan.zone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": plan.limit_s,
                "template": {
                    "metadata": {
                        "labels": {"app.kubernetes.io/name": name},
                        "annotations": {"sidecar.istio.io/inject": "false"},
                    },
                    "spec": pod,
                },
            }
        },
    }
