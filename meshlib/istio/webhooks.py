"""Pure: the webhook configurations of an Istio control plane; istiod itself fills in the caBundle."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]

ADMISSION = "admissionregistration.k8s.io/v1"
INJECT, REVISION, POD_INJECT = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"
VALIDATED_GROUPS = ["security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io"]


def _in(key: str, *values: str) -> Obj:
    return {"key": key, "operator": "In", "values": list(values)}


def _not_in(key: str, *values: str) -> Obj:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _absent(key: str) -> Obj:
    return {"key": key, "operator": "DoesNotExist"}


def _selector(*expressions: Obj) -> Obj:
    return {"matchExpressions": list(expressions)}


def objects(namespace: str) -> list[Obj]:
    """Injection by revision label, injection by the default tag (`istio-injection=enabled`), and
    validation."""
    by_revision = [
        _injector(
            "rev.namespace",
            namespace,
            _selector(_in(REVISION, "default"), _absent(INJECT)),
            _selector(_not_in(POD_INJECT, "false")),
        ),
        _injector(
            "rev.object",
            namespace,
            _selector(_absent(REVISION), _absent(INJECT)),
            _selector(_not_in(POD_INJECT, "false"), _in(REVISION, "default")),
        ),
    ]
    by_default = [
        _injector(
            "namespace", namespace, _selector(_in(INJECT, "enabled")), _selector(_not_in(POD_INJECT, "false"))
        ),
        _injector(
            "object",
            namespace,
            _selector(_absent(INJECT), _absent(REVISION)),
            _selector(_in(POD_INJECT, "true"), _absent(REVISION)),
        ),
    ]
    return [
        _configuration("Mutating", "istio-sidecar-injector", by_revision),
        _configuration("Mutating", "istio-revision-tag-default", by_default),
        _configuration(
            "Validating",
            f"istio-validator-{namespace}",
            [_validator("rev.validation.istio.io", namespace, _selector(_in(REVISION, "default")))],
        ),
        _configuration(
            "Validating",
            "istiod-default-validator",
            [_validator("validation.istio.io", namespace, _selector(_absent(REVISION)))],
        ),
    ]


def _configuration(kind: str, name: str, webhooks: list[Obj]) -> Obj:
    return {
        "apiVersion": ADMISSION,
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {
            "name": name,
            "labels": {
                "app": "sidecar-injector" if kind == "Mutating" else "istiod",
                "istio.io/rev": "default",
            },
        },
        "webhooks": webhooks,
    }


def _injector(prefix: str, namespace: str, namespaces: Obj, pods: Obj) -> Obj:
    return {
        "name": f"{prefix}.sidecar-injector.istio.io",
        "clientConfig": {
            "service": {"name": "istiod", "namespace": namespace, "path": "/inject", "port": 443}
        },
        "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
        ],
        "namespaceSelector": namespaces,
        "objectSelector": pods,
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


def _validator(name: str, namespace: str, objects_selector: Obj) -> Obj:
    return {
        "name": name,
        "clientConfig": {
            "service": {"name": "istiod", "namespace": namespace, "path": "/validate", "port": 443}
        },
        "rules": [
            {
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": VALIDATED_GROUPS,
                "apiVersions": ["*"],
                "resources": ["*"],
            }
        ],
        "objectSelector": objects_selector,
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
