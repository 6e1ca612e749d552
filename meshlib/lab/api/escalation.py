"""Nobody grants rights that he does not have: the check of roles and bindings, as a real server makes it.

Source of the rules and words: kubernetes pkg/registry/rbac (policybased) and pkg/registry/rbac/validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import product

from .errors import forbidden
from .identity import Identity
from .kinds import Kind
from .rbac import GROUP, Attributes, Authorizer, path_covers
from .store import Obj

_ROLES, _BINDINGS = ("roles", "clusterroles"), ("rolebindings", "clusterrolebindings")


class Escalation:
    """Knows what callers may do; `check` is asked before a role or a binding is stored."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def check(self, kind: Kind, new: Obj, old: Obj | None, user: Obj) -> None:
        """Raises StatusError 403 where `new` grants what `user` lacks, and `user` may not do so all the same.

        `escalate` on the role, or `bind` on the role that a binding names, is the right to do so; 404 when
        the role that is named does not exist.
        """
        if kind.group != GROUP or kind.plural not in (*_ROLES, *_BINDINGS) or _same(new, old):
            return
        who = Identity(user["username"], tuple(user.get("groups") or ()))
        namespace, name = new["metadata"].get("namespace", ""), new["metadata"]["name"]
        if kind.plural in _ROLES:
            excuse = Attributes("escalate", GROUP, kind.plural, "", namespace, name)
        else:
            ref = new["roleRef"]
            plural = "clusterroles" if ref["kind"] == "ClusterRole" else "roles"
            excuse = Attributes("bind", GROUP, plural, "", namespace, ref["name"])
        if self._authorizer.allowed(who, excuse):
            return
        if kind.plural in _ROLES:
            granted = new.get("rules") or []
        else:
            granted = self._authorizer.role(new["roleRef"], namespace)
        held = list(self._authorizer.rules(who, namespace))
        if missing := _missing(granted, held):
            groups = " ".join(json.dumps(each) for each in who.groups)
            why = (
                f'user "{who.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not '
                "currently held:\n" + "\n".join(missing)
            )
            raise forbidden(kind.plural, kind.group, name, why)


def _same(new: Obj, old: Obj | None) -> bool:
    """Whether nothing is granted anew: only metadata that grants nothing differs."""
    return old is not None and all(new.get(key) == old.get(key) for key in ("rules", "roleRef", "subjects"))


def _missing(granted: Iterable[Obj], held: list[Obj]) -> list[str]:
    """What of `granted` no single rule of `held` covers, a line for each resource, with its verbs joined."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for rule in granted:
        for verb, what in _parts(rule):
            if not any(_covers(each, verb, what) for each in held):
                verbs = lines.setdefault(what, [])
                verbs += [verb] if verb not in verbs else []
    return sorted(_line(what, verbs) for what, verbs in lines.items())


def _parts(rule: Obj) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each verb on each thing of a rule: (url,) or (group, resource, name); the name is "" for all."""
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield verb, (url,)
        names = rule.get("resourceNames") or [""]
        for what in product(rule.get("apiGroups") or (), rule.get("resources") or (), names):
            yield verb, what


def _covers(held: Obj, verb: str, what: tuple[str, ...]) -> bool:
    verbs = held.get("verbs") or []
    if verb not in verbs and "*" not in verbs:
        return False
    if len(what) == 1:
        return any(path_covers(each, what[0]) for each in held.get("nonResourceURLs") or ())
    group, resource, name = what
    groups, resources = held.get("apiGroups") or [], held.get("resources") or []
    names = held.get("resourceNames") or []
    part = resource.partition("/")[2]
    return (
        (group in groups or "*" in groups)
        and bool({"*", resource, f"*/{part}" if part else resource} & set(resources))
        and (not names or name in names)
    )


def _line(what: tuple[str, ...], verbs: list[str]) -> str:
    if len(what) == 1:
        return f"{{NonResourceURLs:[{json.dumps(what[0])}], Verbs:[{_quoted(verbs)}]}}"
    group, resource, name = map(json.dumps, what)
    named = f", ResourceNames:[{name}]" if what[2] else ""
    return f"{{APIGroups:[{group}], Resources:[{resource}]{named}, Verbs:[{_quoted(verbs)}]}}"


def _quoted(texts: Iterable[str]) -> str:
    return " ".join(json.dumps(each) for each in texts)
