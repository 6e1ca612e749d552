"""Checks of single kinds that look at several fields at once, on a create and on an update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import findings as say
from . import names
from .config import validate_config_map, validate_secret
from .endpoints import validate_endpoint_slice, validate_endpoints
from .meta import IMMUTABLE
from .model import Finding, Obj
from .pods import validate_images, validate_pod_spec, validate_pod_update
from .services import validate_service
from .webhook_clients import validate_webhooks

Check = Callable[[Obj, Obj | None], Iterator[Finding]]


def selector_matches(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects an object with these labels; an unknown operator selects nothing."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        key, values = each.get("key"), each.get("values") or ()
        match each.get("operator"):
            case "In":
                fits = key in labels and labels[key] in values
            case "NotIn":
                fits = key not in labels or labels[key] not in values
            case "Exists":
                fits = key in labels
            case "DoesNotExist":
                fits = key not in labels
            case _:
                fits = False
        if not fits:
            return False
    return True


def _selector(selector: Obj, path: str) -> Iterator[Finding]:
    """An unreadable selector is told twice: by its part, and as a whole."""
    found = list(_expressions(selector, path))
    yield from found
    if found:
        yield say.invalid(path, selector, "invalid label selector")


def _expressions(selector: Obj, path: str) -> Iterator[Finding]:
    for index, each in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        values = each.get("values") or []
        match each.get("operator"):
            case "In" | "NotIn":
                if not values:
                    yield say.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            case "Exists" | "DoesNotExist":
                if values:
                    detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    yield say.forbidden(f"{at}.values", detail)
            case other:
                yield say.invalid(f"{at}.operator", other or "", "not a valid selector operator")


def _workload(name: str) -> Check:
    def check(obj: Obj, old: Obj | None) -> Iterator[Finding]:
        spec = obj.get("spec") or {}
        template = spec.get("template") or {}
        selector = spec.get("selector")
        labels = (template.get("metadata") or {}).get("labels")
        if selector is not None:
            unreadable = list(_selector(selector, "spec.selector"))
            yield from unreadable
            if not selector.get("matchLabels") and not selector.get("matchExpressions"):
                yield say.invalid("spec.selector", selector, f"empty selector is invalid for {name}")
            elif not unreadable and not selector_matches(selector, labels or {}):
                yield say.invalid(
                    "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
                )
        else:
            yield say.invalid(
                "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
        yield from _template(template, ("Always",))
        before = ((old or {}).get("spec") or {}).get("selector")
        if old is not None and selector != before:
            yield say.invalid("spec.selector", selector, IMMUTABLE)

    return check


def _template(template: Obj, restart: tuple[str, ...]) -> Iterator[Finding]:
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy")
    if policy not in restart and policy in ("Always", "OnFailure", "Never"):
        yield say.not_supported("spec.template.spec.restartPolicy", policy, restart)
    if restart == ("Always",) and spec.get("activeDeadlineSeconds") is not None:
        yield say.forbidden(
            "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
        )
    yield from validate_pod_spec(spec, "spec.template.spec")


def _deployment(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    yield from _workload("deployment")(obj, old)
    spec = obj.get("spec") or {}
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") not in ("Recreate", "RollingUpdate"):
        shown = {"Type": strategy.get("type"), "RollingUpdate": rolling}
        yield say.not_supported("spec.strategy", shown, ["Recreate", "RollingUpdate"])
    if strategy.get("type") == "Recreate" and rolling is not None:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        yield say.forbidden("spec.strategy.rollingUpdate", detail)
    elif rolling is not None:
        zero = {_percent_or_number(rolling.get(key)) for key in ("maxUnavailable", "maxSurge")} == {0}
        for key in ("maxUnavailable", "maxSurge"):
            yield from _int_or_percent(rolling.get(key), f"spec.strategy.rollingUpdate.{key}")
        if zero:
            detail = "may not be 0 when `maxSurge` is 0"
            yield say.invalid(
                "spec.strategy.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"), detail
            )
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and 0 <= deadline <= ready:
        yield say.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _percent_or_number(value: Any) -> int | None:
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return int(value[:-1])
    return value if isinstance(value, int) else None


def _int_or_percent(value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from (say.invalid(path, value, each) for each in names.percent(value))
        if path.endswith("maxUnavailable") and (_percent_or_number(value) or 0) > 100:
            yield say.invalid(path, value, "must not be greater than 100%")
    elif isinstance(value, int) and value < 0:
        yield say.invalid(path, value, "must be greater than or equal to 0")


def _pod(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    yield from validate_pod_spec(spec, "spec")
    yield from validate_images(spec, "spec")
    if old is not None:
        yield from validate_pod_update(obj, old)
    elif spec.get("ephemeralContainers"):
        yield say.forbidden("spec.ephemeralContainers", "cannot be set on create")


_NOT_OF_JOBS = (
    "podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy",
    "podReplacementPolicy",
)  # fmt: skip


def _job(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    if (template.get("spec") or {}).get("restartPolicy") == "Always":
        detail = 'valid values: "OnFailure", "Never"'
        yield say.required("spec.template.spec.restartPolicy", detail)
    yield from _template(template, ("Always", "OnFailure", "Never"))
    if old is None and not spec.get("manualSelector"):
        selector, labels = spec.get("selector") or {}, (template.get("metadata") or {}).get("labels") or {}
        if len(selector.get("matchLabels") or {}) > 1:
            yield say.invalid("spec.selector", selector, "`selector` not auto-generated")
        if not selector_matches(selector, labels):
            yield say.invalid(
                "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
            )
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield say.required("spec.completions", "when completion mode is Indexed")
    for field in _NOT_OF_JOBS:
        if spec.get(field) not in (None, "TerminatingOrFailed"):
            yield say.forbidden(f"spec.{field}", "the embedded lab's Job controller does not have it")
    if old is not None:
        before = old.get("spec") or {}
        for field in ("completions", "selector", "template", "completionMode"):
            if spec.get(field) != before.get(field):
                yield say.invalid(f"spec.{field}", spec.get(field), IMMUTABLE)


def _budget(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shown = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        yield say.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")
    for field, value in (("minAvailable", least), ("maxUnavailable", most)):
        yield from _int_or_percent(value, f"spec.{field}")
    yield from _selector(spec.get("selector") or {}, "spec.selector")


def _rules(*, namespaced: bool) -> Check:
    def check(obj: Obj, old: Obj | None) -> Iterator[Finding]:
        if obj.get("aggregationRule") is not None:
            yield say.forbidden("aggregationRule", "the embedded lab joins no roles; write the rules out")
        for index, rule in enumerate(obj.get("rules") or ()):
            at = f"rules[{index}]"
            if urls := rule.get("nonResourceURLs"):
                if namespaced:
                    detail = "namespaced rules cannot apply to non-resource URLs"
                    yield say.invalid(f"{at}.nonResourceURLs", urls, detail)
                if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                    detail = "rules cannot apply to both regular resources and non-resource URLs"
                    yield say.invalid(f"{at}.nonResourceURLs", urls, detail)
                continue
            if not rule.get("apiGroups"):
                yield say.required(f"{at}.apiGroups", "resource rules must supply at least one api group")
            if not rule.get("resources"):
                yield say.required(f"{at}.resources", "resource rules must supply at least one resource")

    return check


def _role_binding(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    if old is not None and obj.get("roleRef") != old.get("roleRef"):
        ref = obj.get("roleRef") or {}
        shown = {"APIGroup": ref.get("apiGroup"), "Kind": ref.get("kind"), "Name": ref.get("name")}
        yield say.invalid("roleRef", shown, "cannot change roleRef")


def _namespace(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    phase = (obj.get("status") or {}).get("phase")
    leaving = "deletionTimestamp" in (obj.get("metadata") or {})
    if old is not None and phase != ("Terminating" if leaving else "Active"):
        word = "may only be 'Terminating' if" if leaving else "may only be 'Active' if"
        state = "is not empty" if leaving else "is empty"
        yield say.invalid("status.Phase", phase or "", f"{word} `deletionTimestamp` {state}")


KIND_CHECKS: dict[str, Check] = {
    "core.v1.Pod": _pod,
    "core.v1.Endpoints": validate_endpoints,
    "core.v1.Namespace": _namespace,
    "core.v1.Service": validate_service,
    "core.v1.ConfigMap": validate_config_map,
    "core.v1.Secret": validate_secret,
    "apps.v1.Deployment": _deployment,
    "apps.v1.ReplicaSet": _workload("replicaset"),
    "apps.v1.DaemonSet": _workload("daemonset"),
    "apps.v1.StatefulSet": _workload("statefulset"),
    "batch.v1.Job": _job,
    "policy.v1.PodDisruptionBudget": _budget,
    "rbac.v1.Role": _rules(namespaced=True),
    "rbac.v1.ClusterRole": _rules(namespaced=False),
    "rbac.v1.RoleBinding": _role_binding,
    "rbac.v1.ClusterRoleBinding": _role_binding,
    "discovery.v1.EndpointSlice": validate_endpoint_slice,
    "admissionregistration.v1.MutatingWebhookConfiguration": validate_webhooks,
    "admissionregistration.v1.ValidatingWebhookConfiguration": validate_webhooks,
}
"""The check of a kind by the short name of its definition: the object and, on an update, the one before."""
