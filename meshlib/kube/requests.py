"""Pure: what a request to the API server asks for, in the words of RBAC.

The client refuses by it (read-only, namespaces that may be written), the run's record lists by it, and the
table of rights in `meshlib.istio.needs` is compared with that list.  Source of the rules: how kube-apiserver
derives request attributes from a path (staging/src/k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# A review creates nothing: it is answered and forgotten.
REVIEWS = (
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
)


@dataclass(frozen=True, order=True)
class Call:
    """One request: verb, `plural.group[/subresource]` ("" for a path that is no resource), namespace,
    name."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def writes(self) -> bool:
        """Whether the cluster may look different afterwards."""
        quiet = (*REVIEWS, "pods/portforward")
        return self.verb not in ("get", "list", "watch") and self.resource not in quiet


def call_of(method: str, path: str, params: Mapping[str, object] | None = None) -> Call:
    """What `method path?params` asks for.

    A list with `metadata.name=…` as field selector is about that name, as it is for RBAC.
    """
    parts = [part for part in path.split("?", 1)[0].split("/") if part]
    group, rest = _group(parts)
    verb = VERBS.get(method, method.lower())
    if not rest:
        return Call(verb, "")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = f"{rest[0]}.{group}" if group else rest[0]
    name = rest[1] if len(rest) > 1 else ""
    if len(rest) > 2:
        resource += f"/{rest[2]}"
    options = params or {}
    if verb == "get" and not name:
        verb = "watch" if str(options.get("watch", "")).lower() in ("1", "true") else "list"
        name = _named(str(options.get("fieldSelector", "")))
    if verb == "delete" and not name:
        verb = "deletecollection"
    return Call(verb, resource, namespace, name)


def refusal(call: Call, body: object, read_only: bool, patterns: tuple[str, ...]) -> str:
    """Why a request may not be sent, "" when it may: read-only, or outside of the namespaces to be
    written."""
    if not call.writes:
        return ""
    if read_only:
        return "this connection is read-only"
    place = call.namespace or (call.name if call.resource == "namespaces" else "")
    if call.resource == "namespaces" and not place and isinstance(body, dict):
        place = str(body["metadata"]["name"])
    if place and not permitted(patterns, place):
        return f"namespace {place} is none of write_namespaces ({', '.join(patterns)})"
    return ""


def permitted(patterns: tuple[str, ...], namespace: str) -> bool:
    """Whether a namespace may be written: it fits one of the patterns (`*` as in a shell), or there are
    none."""
    return not patterns or any(fnmatchcase(namespace, pattern) for pattern in patterns)


def _group(parts: list[str]) -> tuple[str, list[str]]:
    if parts[:1] == ["api"]:
        return "", parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 2:
        return parts[1], parts[3:]
    return "", []


def _named(selector: str) -> str:
    for term in selector.split(","):
        key, _, value = term.partition("=")
        if key == "metadata.name":
            return value.lstrip("=")
    return ""
