"""Which webhooks a request goes to, in which order.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .kinds import Kind
from .selectors import LabelSelector, from_object
from .store import Obj

EXEMPT = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


@dataclass(frozen=True, slots=True)
class Webhook:
    """One entry of a webhook configuration."""

    configuration: str
    name: str
    client: Obj
    rules: tuple[Obj, ...]
    namespaces: LabelSelector
    objects: LabelSelector
    fail: bool
    timeout_s: float
    again: bool
    exact: bool
    dry_run: bool

    def version_for(self, kind: Kind, version: str, verb: str, subresource: str) -> str | None:
        """In which version the webhook wants the object; None when no rule takes the request.

        The requested version goes first; with matchPolicy Equivalent any other served one will do.
        """
        versions = [version] if self.exact else [version, *(v for v in kind.versions if v != version)]
        for each in versions:
            if any(_takes(rule, kind, each, verb, subresource) for rule in self.rules):
                return each
        return None

    def selects(self, namespace_labels: dict[str, str] | None, *objects: Obj | None) -> bool:
        """Whether the selectors take the namespace (None: the object has none) and one of the objects."""
        if namespace_labels is not None and not self.namespaces.holds(namespace_labels):
            return False
        if not self.objects.requirements:
            return True
        return any(
            self.objects.holds(each["metadata"].get("labels") or {}) for each in objects if each is not None
        )


def webhooks_of(configurations: Iterable[Obj]) -> list[Webhook]:
    """All webhooks, by the name of their configuration and then in its order."""
    found: list[Webhook] = []
    for configuration in sorted(configurations, key=lambda each: str(each["metadata"]["name"])):
        name = configuration["metadata"]["name"]
        found += [_webhook(name, each) for each in configuration.get("webhooks") or []]
    return found


def unsupported(configuration: Obj) -> Iterator[tuple[str, str, str]]:
    """Causes for what the lab cannot honour: conditions in CEL, which would otherwise never be asked."""
    for index, each in enumerate(configuration.get("webhooks") or []):
        if each.get("matchConditions"):
            message = "Forbidden: the embedded lab evaluates no match conditions; use rules and selectors"
            yield f"webhooks[{index}].matchConditions", "FieldValueForbidden", message


def _webhook(configuration: str, each: Obj) -> Webhook:
    return Webhook(
        configuration,
        each["name"],
        each.get("clientConfig") or {},
        tuple(each.get("rules") or ()),
        from_object(each.get("namespaceSelector")),
        from_object(each.get("objectSelector")),
        each.get("failurePolicy", "Fail") == "Fail",
        float(each.get("timeoutSeconds") or 10),
        each.get("reinvocationPolicy") == "IfNeeded",
        each.get("matchPolicy") == "Exact",
        each.get("sideEffects") in ("None", "NoneOnDryRun"),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """One admission request, before it is sent to anyone."""

    kind: Kind
    version: str
    verb: str
    subresource: str
    namespace: str
    name: str
    user: Obj
    dry_run: bool
    options: Obj = field(default_factory=dict)

    def review(self, uid: str, version: str, new: Obj | None, old: Obj | None) -> Obj:
        """The AdmissionReview for a webhook that wants `version`."""
        kind = self.kind
        return {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": uid,
                "kind": {"group": kind.group, "version": version, "kind": kind.kind},
                "resource": {"group": kind.group, "version": version, "resource": kind.plural},
                **({"subResource": self.subresource} if self.subresource else {}),
                "requestKind": {"group": kind.group, "version": self.version, "kind": kind.kind},
                "requestResource": {"group": kind.group, "version": self.version, "resource": kind.plural},
                **({"requestSubResource": self.subresource} if self.subresource else {}),
                "name": self.name,
                **({"namespace": self.namespace} if self.namespace else {}),
                "operation": self.verb,
                "userInfo": self.user,
                "object": new,
                "oldObject": old,
                "dryRun": self.dry_run,
                "options": self.options,
            },
        }


def _takes(rule: Obj, kind: Kind, version: str, verb: str, subresource: str) -> bool:
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not kind.namespaced:
        return False
    return (
        _has(rule.get("operations"), verb)
        and _has(rule.get("apiGroups"), kind.group)
        and _has(rule.get("apiVersions"), version)
        and any(_resource(each, kind.plural, subresource) for each in _texts(rule.get("resources")))
    )


def _has(given: Any, value: str) -> bool:
    return "*" in (given or []) or value in (given or [])


def _texts(given: Any) -> Iterator[str]:
    yield from given or []


def _resource(pattern: str, plural: str, subresource: str) -> bool:
    name, slash, part = pattern.partition("/")
    if name not in ("*", plural):
        return False
    return part in ("*", subresource) if slash else not subresource
