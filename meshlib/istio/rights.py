"""Pure: the service accounts and RBAC of an Istio control plane and its gateways."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]

RBAC = "rbac.authorization.k8s.io"
READ = ["get", "list", "watch"]
WRITE = ["create", "update", "patch", "delete"]
ISTIO_GROUPS = [
    "config.istio.io",
    "security.istio.io",
    "networking.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
]


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Obj:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


ISTIOD_RULES = [
    _rule(ISTIO_GROUPS, ["*"], READ),
    _rule(["networking.istio.io"], ["workloadentries"], [*READ, *WRITE]),
    _rule(ISTIO_GROUPS, ["*/status"], ["get", "update", "patch"]),
    _rule(
        ["admissionregistration.k8s.io"],
        ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        [*READ, "update", "patch"],
    ),
    _rule(["apiextensions.k8s.io"], ["customresourcedefinitions"], READ),
    _rule([""], ["pods", "nodes", "services", "namespaces", "endpoints", "serviceaccounts"], READ),
    _rule(["discovery.k8s.io"], ["endpointslices"], READ),
    _rule([""], ["configmaps"], [*READ, *WRITE]),
    _rule([""], ["secrets"], READ),
    _rule([""], ["events"], ["create", "patch"]),
    _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
    _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
    _rule(["coordination.k8s.io"], ["leases"], [*READ, *WRITE]),
]
ISTIOD_LOCAL_RULES = [
    _rule(["networking.istio.io"], ["gateways"], ["create"]),
    _rule([""], ["secrets"], [*READ, "create", "update", "delete"]),
    _rule([""], ["configmaps"], ["delete"]),
]
READER_RULES = [
    _rule(ISTIO_GROUPS, ["*"], READ),
    _rule(
        [""],
        ["endpoints", "pods", "services", "nodes", "replicationcontrollers", "namespaces", "secrets"],
        READ,
    ),
    _rule(["discovery.k8s.io"], ["endpointslices"], READ),
    _rule(["apps"], ["replicasets"], READ),
    _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
    _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
]


def objects(namespace: str) -> list[Obj]:
    """Accounts `istiod` and `istio-reader-service-account`, their ClusterRoles, and the right of the ingress
    gateway to read Secrets of its own namespace (the reason why a TLS Secret must lie there)."""
    made: list[Obj] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for name in ("istiod", "istio-reader-service-account")
    ]
    made += _cluster_role(f"istiod-clusterrole-{namespace}", "istiod", namespace, ISTIOD_RULES)
    made += _cluster_role(
        f"istio-reader-clusterrole-{namespace}", "istio-reader-service-account", namespace, READER_RULES
    )
    made += _role("istiod", "istiod", namespace, ISTIOD_LOCAL_RULES)
    made += _role(
        "istio-ingressgateway-sds",
        "istio-ingressgateway-service-account",
        namespace,
        [_rule([""], ["secrets"], READ)],
    )
    return made


def _cluster_role(name: str, account: str, namespace: str, rules: list[Obj]) -> list[Obj]:
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        },
    ]


def _role(name: str, account: str, namespace: str, rules: list[Obj]) -> list[Obj]:
    meta = {"name": name, "namespace": namespace}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        },
    ]
