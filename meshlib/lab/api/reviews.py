"""Kinds that are asked and answered in one POST: who am I, may I, whose token is this."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .authentication import Authenticator
from .bodies import read_object
from .call import Call
from .errors import bad_request, invalid
from .identity import AUTHENTICATED, Identity
from .rbac import Attributes, Authorizer
from .store import Obj
from .strategy import now

_NEEDED = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


async def review(call: Call, authenticator: Authenticator, authorizer: Authorizer) -> Response:
    """Raises StatusError 400, 422."""
    obj = read_object(call.target, call.body, call.content_type)
    kind = call.target.kind.kind
    if kind == "SelfSubjectReview":
        obj["metadata"]["creationTimestamp"] = now()
        obj["status"] = {"userInfo": call.identity.user_info()}
    elif kind == "TokenReview":
        obj["status"] = _token_status(obj, authenticator)
    elif kind == "SelfSubjectRulesReview":
        obj["status"] = _rules_status(obj, call.identity, authorizer)
    else:
        who = call.identity if kind == "SelfSubjectAccessReview" else _subject(obj, kind)
        obj["status"] = _access_status(obj, kind, who, authorizer)
    return call.answer(obj, 201)


def _access_status(obj: Obj, kind: str, who: Identity, authorizer: Authorizer) -> Obj:
    spec = obj.get("spec") or {}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is None:
        names = ("verb", "group", "resource", "subresource", "namespace", "name")
        what = Attributes(**{key: str(resource.get(key) or "") for key in names})
    elif path is not None and resource is None:
        what = Attributes(path.get("verb", ""), path=path.get("path", ""))
    else:
        cause = ("spec.resourceAttributes", "FieldValueInvalid", f"Invalid value: null: {_NEEDED}")
        if resource is not None:
            shown = "Invalid value: cannot be specified in combination with resourceAttributes"
            cause = ("spec.nonResourceAttributes", "FieldValueInvalid", shown)
        raise invalid("authorization.k8s.io", "", "", [cause])
    allowed = authorizer.allowed(who, what)
    status: Obj = {"allowed": allowed}
    if allowed:
        status["reason"] = ""
    return {key: value for key, value in status.items() if value != ""}


def _subject(obj: Obj, kind: str) -> Identity:
    spec = obj.get("spec") or {}
    if not spec.get("user") and not spec.get("groups"):
        message = 'Invalid value: "": at least one of user or group must be specified'
        causes = [("spec.user", "FieldValueInvalid", message)]
        raise invalid("authorization.k8s.io", "", "", causes)
    return Identity(spec.get("user", ""), tuple(spec.get("groups") or ()))


def _rules_status(obj: Obj, who: Identity, authorizer: Authorizer) -> Obj:
    namespace = (obj.get("spec") or {}).get("namespace")
    if not namespace:
        raise bad_request("no namespace on request")
    resource: list[Obj] = []
    other: list[Obj] = []
    for rule in authorizer.rules(who, namespace):
        keys: tuple[str, ...] = ("verbs", "nonResourceURLs")
        if rule.get("nonResourceURLs"):
            other.append({key: rule[key] for key in keys})
        else:
            keys = ("verbs", "apiGroups", "resources", "resourceNames")
            resource.append({key: rule[key] for key in keys if rule.get(key)})
    return {"resourceRules": resource, "nonResourceRules": other, "incomplete": False}


def _token_status(obj: Obj, authenticator: Authenticator) -> Obj:
    spec = obj.get("spec") or {}
    token: Any = spec.get("token")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    found = authenticator.of_token(token, spec.get("audiences"))
    if found is None:
        return {"user": {}, "error": "[invalid bearer token]"}
    status: Obj = {"authenticated": True, "user": found.user_info()}
    if AUTHENTICATED in found.groups and spec.get("audiences"):
        status["audiences"] = spec["audiences"]
    return status
