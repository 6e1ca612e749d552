"""The semantic checks that istiod's webhook makes on Istio's objects, and the text of its refusal.

The API server has checked the structure before (`validate`); these are the rules that a schema cannot
express.
"""

from __future__ import annotations

from .crd import structure
from .model import KindRef, Obj
from .tables import schema
from .webhook import gateway, security, services, telemetry, traffic, virtualservice
from .webhook.judgement import Judgement

DRY_RUN = "istio.io/dry-run"


def judge(obj: Obj) -> Judgement:
    """All errors and warnings of an object in the order of istiod; none for a kind that is not Istio's.

    The text of the result is the message of the refusal, empty when the object is admitted. An object of
    the wrong shape has that as its errors.
    """
    found = Judgement()
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    kind = KindRef(group, version, str(obj.get("kind", "")))
    root = schema(kind)
    if root is None or not group.endswith("istio.io"):
        return found
    shape = list(structure(root, obj))
    if any(each.reason == "FieldValueTypeInvalid" for each in shape):
        found.add(*(f"cannot decode configuration: {each}" for each in shape))
        return found
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    name, namespace = str(meta.get("name") or ""), str(meta.get("namespace") or "")
    _dry_run(found, kind.kind, meta, spec)
    if found.errors:
        return found
    match kind.kind:
        case "Gateway":
            gateway.judge(found, name, spec)
        case "VirtualService":
            virtualservice.judge(found, namespace, spec)
        case "DestinationRule":
            traffic.judge(found, namespace, spec)
        case "ServiceEntry":
            services.judge_service_entry(found, namespace, spec)
        case "WorkloadEntry":
            services.workload_entry(found, spec, set(), dns=True)
        case "WorkloadGroup":
            services.judge_workload_group(found, spec)
        case "Sidecar":
            services.judge_sidecar(found, spec)
        case "PeerAuthentication":
            security.judge_peer(found, spec)
        case "RequestAuthentication":
            security.judge_request(found, spec)
        case "AuthorizationPolicy":
            security.judge_authorization(found, name, namespace, spec)
        case "Telemetry":
            telemetry.judge(found, spec)
    return found


def _dry_run(found: Judgement, kind: str, meta: Obj, spec: Obj) -> None:
    """The annotation of a dry run, which only AuthorizationPolicies with ALLOW or DENY may have."""
    annotations = meta.get("annotations")
    value = annotations.get(DRY_RUN) if isinstance(annotations, dict) else None
    where = f"{meta.get('namespace')}/{meta.get('name')}"
    if value is None:
        return
    if kind != "AuthorizationPolicy":
        found.add(f"{where} has unsupported annotation {DRY_RUN}, please remove the annotation")
    elif spec.get("action", "ALLOW") not in ("ALLOW", "DENY"):
        action = spec["action"]
        found.add(
            f"the annotation {DRY_RUN} currently only supports action ALLOW/DENY, found action {action} "
            f"in {where}"
        )
    elif value not in ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"):
        cause = f'strconv.ParseBool: parsing "{value}": invalid syntax'
        found.add(f"{where} has annotation {DRY_RUN} with invalid value ({value}): {cause}")
