"""Principals under the mesh's trust domain and its aliases: whoever may come by one name may by all.

Source: istio/istio pilot/pkg/security/trustdomain/bundle.go.
"""

from __future__ import annotations

from collections.abc import Sequence

#: In a principal this trust domain stands for the mesh's own, whatever its name is.
LOCAL = "cluster.local"
#: `<trust domain>/ns/<namespace>/sa/<account>`
_PARTS = 5


def aliased(principals: list[str], domains: Sequence[str]) -> list[str]:
    """The principals, with each of a trust domain of the mesh under all of `domains` (its own first)."""
    found: list[str] = []
    for principal in principals:
        domain, _, rest = principal.partition("/")
        ours = domain == LOCAL or any(_fits(name, domain) for name in domains)
        if principal.count("/") != _PARTS - 1 or domain == "*" or not ours:
            found.append(principal)
            continue
        each = [principal if _ends(name, domain) else f"{name}/{rest}" for name in domains]
        found += list(dict.fromkeys(each))
    return found


def _ends(name: str, pattern: str) -> bool:
    return pattern.startswith("*") and name.endswith(pattern[1:])


def _fits(name: str, pattern: str) -> bool:
    return (
        name == pattern or _ends(name, pattern) or (pattern.endswith("*") and name.startswith(pattern[:-1]))
    )
