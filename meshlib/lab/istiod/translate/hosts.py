"""Host names: short names, wildcards, and which name stands for which.

Source: istio/istio pkg/config/host (Matches, SubsetOf, Intersection), pilot/pkg/model (short names).
"""

from __future__ import annotations

from collections.abc import Iterable


def fqdn(name: str, namespace: str, domain: str) -> str:
    """A host of an Istio object: a name without dots is a Service of the object's namespace."""
    if name == "*" or "." in name or "/" in name or not name:
        return name
    return f"{name}.{namespace}.svc.{domain}"


def is_wildcard(name: str) -> bool:
    return name.startswith("*")


def matches(one: str, other: str) -> bool:
    """Whether the two names overlap: equal, or one is a wildcard that covers the other."""
    one, other = one.lower(), other.lower()
    if is_wildcard(one):
        if is_wildcard(other):
            short, long = sorted((one[1:], other[1:]), key=len)
            return long.endswith(short)
        return other.endswith(one[1:])
    if is_wildcard(other):
        return one.endswith(other[1:])
    return one == other


def subset_of(name: str, of: str) -> bool:
    """Whether everything that `name` stands for is also covered by `of`."""
    name, of = name.lower(), of.lower()
    if is_wildcard(of):
        tail = name[1:] if is_wildcard(name) else name
        return tail.endswith(of[1:])
    return name == of


def intersection(servers: Iterable[str], hosts: Iterable[str]) -> list[str]:
    """The narrower name of every overlapping pair, in the order of `servers`, each once."""
    hosts = list(hosts)
    found: list[str] = []
    for server in servers:
        for name in hosts:
            narrow = server if subset_of(server, name) else name if subset_of(name, server) else None
            if narrow is not None and narrow not in found:
                found.append(narrow)
    return found


def for_namespace(server_hosts: Iterable[str], namespace: str) -> list[str]:
    """The hosts of a Gateway server that objects of `namespace` may bind to, without their `ns/`."""
    found = []
    for name in server_hosts:
        scope, slash, bare = name.partition("/")
        if not slash:
            found.append(name)
        elif scope in ("*", namespace):
            found.append(bare)
    return found


def specificity(name: str) -> tuple[int, int, str]:
    """A sort key: exact names first, then longer wildcards, then by text."""
    return (1 if is_wildcard(name) else 0, -len(name), name)
