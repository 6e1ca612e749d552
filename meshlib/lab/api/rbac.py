"""Who may do what: Roles and their bindings, evaluated as a real server does.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .errors import StatusError, not_found
from .identity import AUTHENTICATED, MASTERS, UNAUTHENTICATED, Identity
from .store import Obj

GROUP = "rbac.authorization.k8s.io"
READERS = "meshlib:read-only"
ACCOUNT_PREFIX = "system:serviceaccount:"
_HEALTH = ["/healthz", "/livez", "/readyz", "/version", "/version/", "/healthz/*", "/livez/*", "/readyz/*"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH, "/"]
_SELF = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
READ = ["get", "list", "watch"]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do; `path` is set for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class RoleObjects(Protocol):
    """Where the rules come from."""

    def list(self, resource: str, namespace: str | None = None) -> list[Obj]: ...


# What every server grants without any object: system:public-info-viewer, system:discovery, system:basic-user.
_PUBLIC: list[Obj] = [{"verbs": ["get"], "nonResourceURLs": _HEALTH}]
_BASIC: list[Obj] = [
    {"verbs": ["get"], "nonResourceURLs": _DISCOVERY},
    {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": _SELF},
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
]


def read_only_rules(plurals: Iterable[tuple[str, str, Iterable[str]]]) -> list[Obj]:
    """The rules of the read-only credential: everything but Secrets, and no way into a pod.

    `plurals` are (group, plural, subresources) of all kinds.
    """
    rules: list[Obj] = []
    for group, plural, parts in plurals:
        if (group, plural) != ("", "secrets"):
            seen = [plural, *(f"{plural}/{part}" for part in parts if part in ("status", "scale", "log"))]
            rules.append({"verbs": READ, "apiGroups": [group], "resources": seen})
    return rules


class Authorizer:
    """Masters may do everything, readers what `reader_rules` say, others what RBAC says."""

    def __init__(self, objects: RoleObjects, reader_rules: list[Obj]) -> None:
        self._objects = objects
        self._reader_rules = reader_rules

    def allowed(self, who: Identity, what: Attributes) -> bool:
        return MASTERS in who.groups or any(_covers(rule, what) for rule in self.rules(who, what.namespace))

    def rules(self, who: Identity, namespace: str) -> Iterator[Obj]:
        """Every rule that holds for `who` in a namespace ("" for the cluster scope)."""
        if MASTERS in who.groups:
            yield {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            yield {"verbs": ["*"], "nonResourceURLs": ["*"]}
        if AUTHENTICATED in who.groups or UNAUTHENTICATED in who.groups:
            yield from _PUBLIC
        if AUTHENTICATED in who.groups:
            yield from _BASIC
        if READERS in who.groups:
            yield from self._reader_rules
        for binding in self._objects.list(f"clusterrolebindings.{GROUP}"):
            if _binds(binding, who):
                yield from self._rules_of(binding["roleRef"], "")
        if namespace:
            for binding in self._objects.list(f"rolebindings.{GROUP}", namespace):
                if _binds(binding, who):
                    yield from self._rules_of(binding["roleRef"], namespace)

    def role(self, ref: Obj, namespace: str) -> list[Obj]:
        """The rules of the role that a binding names; raises StatusError 404."""
        plural = "clusterroles" if ref["kind"] == "ClusterRole" else "roles"
        scope = None if ref["kind"] == "ClusterRole" else namespace
        for role in self._objects.list(f"{plural}.{GROUP}", scope):
            if role["metadata"]["name"] == ref["name"]:
                return role.get("rules") or []
        raise not_found(plural, GROUP, ref["name"])

    def _rules_of(self, ref: Obj, namespace: str) -> list[Obj]:
        try:
            return self.role(ref, namespace)
        except StatusError:  # a binding may name a role that is made later
            return []


def _binds(binding: Obj, who: Identity) -> bool:
    own = binding["metadata"].get("namespace", "")
    for subject in binding.get("subjects") or []:
        name, kind = subject.get("name", ""), subject.get("kind")
        if kind == "User" and name == who.name:
            return True
        if kind == "Group" and name in who.groups:
            return True
        account = f"{ACCOUNT_PREFIX}{subject.get('namespace') or own}:{name}"
        if kind == "ServiceAccount" and account == who.name:
            return True
    return False


def _covers(rule: Obj, what: Attributes) -> bool:
    if not _has(rule.get("verbs"), what.verb):
        return False
    if what.path:
        return any(path_covers(each, what.path) for each in rule.get("nonResourceURLs") or [])
    if not _has(rule.get("apiGroups"), what.group):
        return False
    resources = rule.get("resources") or []
    full = f"{what.resource}/{what.subresource}" if what.subresource else what.resource
    wanted = {"*", full}
    if what.subresource:
        wanted.add(f"*/{what.subresource}")
    if not wanted & set(resources):
        return False
    names = rule.get("resourceNames") or []
    return not names or what.name in names


def _has(given: list[str] | None, value: str) -> bool:
    return "*" in (given or []) or value in (given or [])


def path_covers(rule: str, path: str) -> bool:
    """Whether a rule for `rule`, perhaps with a * at its end, is one for `path` (or for its own pattern)."""
    return rule in ("*", path) or (rule.endswith("*") and path.startswith(rule[:-1]))


def refusal(who: Identity, what: Attributes) -> str:
    """Why not, in the words of a real server."""
    if what.path:
        return f'User "{who.name}" cannot {what.verb} path "{what.path}"'
    full = f"{what.resource}/{what.subresource}" if what.subresource else what.resource
    where = f'in the namespace "{what.namespace}"' if what.namespace else "at the cluster scope"
    return f'User "{who.name}" cannot {what.verb} resource "{full}" in API group "{what.group}" {where}'
