"""The defaults of built-in kinds, as a user sees them in `-o yaml`.

Constants are a table by the published name of the type they belong to; what depends on other fields is a
function below. The walk goes through an object by its schema and applies both to every type that it meets,
so that a container has the same defaults in a Pod, a Deployment and a Job.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

from . import openapi
from .gofields import canonical
from .model import KindRef, Obj
from .nodes import Node
from .tables import resolve

CONSTANTS: dict[str, Obj] = {
    "core.v1.PodSpec": {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
    },
    "core.v1.ContainerPort": {"protocol": "TCP"},
    "core.v1.Probe": {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
    "core.v1.HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "core.v1.GRPCAction": {"service": ""},
    "core.v1.SecretVolumeSource": {"defaultMode": 420},
    "core.v1.ConfigMapVolumeSource": {"defaultMode": 420},
    "core.v1.DownwardAPIVolumeSource": {"defaultMode": 420},
    "core.v1.ProjectedVolumeSource": {"defaultMode": 420},
    "core.v1.HostPathVolumeSource": {"type": ""},
    "core.v1.ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "core.v1.ObjectFieldSelector": {"apiVersion": "v1"},
    "core.v1.Secret": {"type": "Opaque"},
    "core.v1.NamespaceStatus": {"phase": "Active"},
    "core.v1.EndpointPort": {"protocol": "TCP"},
    "core.v1.PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "core.v1.PersistentVolumeClaimStatus": {"phase": "Pending"},
    "core.v1.PersistentVolumeSpec": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"},
    "core.v1.PersistentVolumeStatus": {"phase": "Pending"},
    "apps.v1.DeploymentSpec": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "apps.v1.DeploymentStrategy": {"type": "RollingUpdate"},
    "apps.v1.ReplicaSetSpec": {"replicas": 1},
    "apps.v1.DaemonSetSpec": {"revisionHistoryLimit": 10},
    "apps.v1.DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "apps.v1.StatefulSetSpec": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
        "persistentVolumeClaimRetentionPolicy": {},
    },
    "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy": {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    },
    "batch.v1.JobSpec": {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    },
    "batch.v1.CronJobSpec": {
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    },
    "discovery.v1.EndpointPort": {"name": "", "protocol": "TCP"},
    "autoscaling.v2.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "autoscaling.v1.HorizontalPodAutoscalerSpec": {"minReplicas": 1},
    "networking.v1.NetworkPolicyPort": {"protocol": "TCP"},
    "storage.v1.StorageClass": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
    "admissionregistration.v1.Rule": {"scope": "*"},
    "admissionregistration.v1.ServiceReference": {"port": 443},
    "admissionregistration.v1.ValidatingWebhook": {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "timeoutSeconds": 10,
    },
    "admissionregistration.v1.MutatingWebhook": {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "reinvocationPolicy": "Never",
        "timeoutSeconds": 10,
    },
}
CLIENT_IP_TIMEOUT_S = 10_800


def default(kind: KindRef, obj: Obj) -> None:
    """Fill in, in place, what the API server fills in, after it has put the object into its one form.

    The object must be one that decodes (`decode_error` is None). Doing it twice changes nothing. Of custom
    resources only the metadata changes form: Istio's kinds have no defaults.
    """
    canonical(kind, obj)
    name = openapi.definition_name(kind)
    if name is not None:
        _walk(openapi.definition(name), name, obj)


def _walk(node: Node, name: str, obj: Obj) -> None:
    short = name.removeprefix("io.k8s.api.")
    for key, value in CONSTANTS.get(short, {}).items():
        if obj.get(key) is None or (
            obj[key] in ("", 0) and obj[key] is not False and not _zero_counts(short, key)
        ):
            obj[key] = copy.deepcopy(value)
    function = _FUNCTIONS.get(short)
    if function is not None:
        function(obj)
    for key, each in obj.items():
        inner = (node.properties or {}).get(key)
        if inner is not None:
            _descend(inner, each)


def _descend(node: Node, value: Any) -> None:
    target = resolve(node)
    if isinstance(value, dict) and target.properties is not None:
        _walk(target, node.definition, value)
    elif isinstance(value, list) and target.items is not None:
        for each in value:
            _descend(target.items, each)


_ZERO_COUNTS = {
    "apps.v1.DeploymentSpec", "apps.v1.ReplicaSetSpec", "apps.v1.StatefulSetSpec", "apps.v1.DaemonSetSpec",
    "batch.v1.JobSpec", "batch.v1.CronJobSpec", "core.v1.SecretVolumeSource", "core.v1.ConfigMapVolumeSource",
    "core.v1.DownwardAPIVolumeSource", "core.v1.ProjectedVolumeSource",
    "core.v1.ServiceAccountTokenProjection", "autoscaling.v2.HorizontalPodAutoscalerSpec",
    "autoscaling.v1.HorizontalPodAutoscalerSpec",
}  # fmt: skip


def _zero_counts(short: str, key: str) -> bool:
    """Whether a zero is a choice of the user: these types have pointers where the others have plain
    numbers.
    """
    return short in _ZERO_COUNTS or (short, key) == ("core.v1.PodSpec", "terminationGracePeriodSeconds")


def _volume(obj: Obj) -> None:
    if set(obj) <= {"name"}:
        obj["emptyDir"] = {}
    image = obj.get("image")
    if image is not None:
        image.setdefault("pullPolicy", pull_policy(image.get("reference", "")))


def pull_policy(image: str) -> str:
    """`Always` for an image whose tag is `latest` or left out, `IfNotPresent` for any other."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    return "Always" if tag == "latest" or not (colon or digest) else "IfNotPresent"


def _container(obj: Obj) -> None:
    obj.setdefault("imagePullPolicy", pull_policy(obj.get("image", "")))
    obj.setdefault("terminationMessagePath", "/dev/termination-log")
    obj.setdefault("terminationMessagePolicy", "File")


def _pod(obj: Obj) -> None:
    spec = obj["spec"]
    spec.setdefault("enableServiceLinks", True)
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    _host_ports(spec)


def _host_ports(spec: Obj) -> None:
    if spec.get("hostNetwork"):
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort")


def _service(obj: Obj) -> None:
    spec = obj["spec"]
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": CLIENT_IP_TIMEOUT_S}}
    kind = spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    outside = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if outside:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _deployment_strategy(obj: Obj) -> None:
    if obj["type"] == "RollingUpdate":
        rolling = obj.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")


def _daemon_set_strategy(obj: Obj) -> None:
    if obj["type"] == "RollingUpdate":
        rolling = obj.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)


def _stateful_set_strategy(obj: Obj) -> None:
    if not obj.get("type"):
        obj["type"] = "RollingUpdate"
        obj.setdefault("rollingUpdate", {})
    if obj["type"] == "RollingUpdate" and obj.get("rollingUpdate") is not None:
        obj["rollingUpdate"].setdefault("partition", 0)


def _job(obj: Obj) -> None:
    spec = obj["spec"]
    if spec.get("parallelism") is None:
        if spec.get("completions") is None:
            spec["completions"] = 1
        spec["parallelism"] = 1
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _namespace(obj: Obj) -> None:
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _node_status(obj: Obj) -> None:
    if obj.get("capacity") and not obj.get("allocatable"):
        obj["allocatable"] = dict(obj["capacity"])


def _secret(obj: Obj) -> None:
    """`stringData` is a way to write `data`, never stored."""
    for key, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def _network_policy(obj: Obj) -> None:
    if not obj.get("policyTypes"):
        obj["policyTypes"] = ["Ingress", "Egress"] if obj.get("egress") else ["Ingress"]


def _role_binding(obj: Obj) -> None:
    """Roles are of the RBAC group, subjects too unless they are ServiceAccounts, which are of the core
    group.
    """
    role = obj.get("roleRef")
    if isinstance(role, dict) and not role.get("apiGroup"):
        role["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


_FUNCTIONS: dict[str, Callable[[Obj], None]] = {
    "core.v1.Volume": _volume,
    "core.v1.Container": _container,
    "core.v1.EphemeralContainer": _container,
    "core.v1.Pod": _pod,
    "core.v1.PodSpec": _host_ports,
    "core.v1.Service": _service,
    "core.v1.Namespace": _namespace,
    "core.v1.NodeStatus": _node_status,
    "core.v1.Secret": _secret,
    "apps.v1.DeploymentStrategy": _deployment_strategy,
    "apps.v1.DaemonSetUpdateStrategy": _daemon_set_strategy,
    "apps.v1.StatefulSetUpdateStrategy": _stateful_set_strategy,
    "batch.v1.Job": _job,
    "networking.v1.NetworkPolicySpec": _network_policy,
    "rbac.v1.RoleBinding": _role_binding,
    "rbac.v1.ClusterRoleBinding": _role_binding,
}
