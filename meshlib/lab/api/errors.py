"""The one error for an API answer, and the answers that a real kube-apiserver gives.

Wording and details follow k8s.io/apimachinery/pkg/api/errors as seen on the wire; the parity cases hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshlib.errors import MeshlibError


class StatusError(MeshlibError):
    """An API answer that is no success; REST renders it as a `Status` with HTTP code `status`.

    `details` is None when the answer has none, which differs on the wire from an empty mapping.
    """

    def __init__(
        self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.details = dict(details) if details is not None else None
        self.metadata: dict[str, Any] = {}
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """The `Status` object of this answer."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.status
        return body


def qualified(plural: str, group: str) -> str:
    """`deployments.apps`, or `pods` for the core group."""
    return f"{plural}.{group}" if group else plural


def _details(name: str, group: str, kind: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    details.update(more)
    return details


def not_found(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(name, group, plural))


def no_such_resource() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(plural: str, group: str, name: str, *, leaving: bool = False) -> StatusError:
    """409; `leaving`: the one that exists is being deleted."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    if leaving:
        message = f"object is being deleted: {message}"
    return StatusError(409, "AlreadyExists", message, _details(name, group, plural))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = MODIFIED) -> StatusError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(name, group, plural))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def method_not_allowed() -> StatusError:
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def forbidden(
    plural: str, group: str, name: str, why: str, causes: Iterable[Mapping[str, str]] = ()
) -> StatusError:
    """403; `name` may be empty, then the answer is about the whole resource."""
    what = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    more = {"causes": [dict(each) for each in causes]} if causes else {}
    details = _details(name, group, plural, **more)
    return StatusError(403, "Forbidden", f"{what} is forbidden: {why}", details)


def invalid(group: str, kind: str, name: str, causes: Iterable[tuple[str, str, str]]) -> StatusError:
    """422 with one cause per (field, reason, message)."""
    found = list(causes)
    texts = list(dict.fromkeys(f"{field}: {message}" for field, _, message in found))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(
        name,
        group,
        kind,
        causes=[{"reason": reason, "message": message, "field": field} for field, reason, message in found],
    )
    if not kind:
        del details["kind"]
    # An answer about no kind still names its group: `.authorization.k8s.io "" is invalid`.
    return StatusError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {text}', details)


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def too_large_version(asked: int, current: int) -> StatusError:
    """504 as the watch cache answers it when asked for a version from the future."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return StatusError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def internal(message: str) -> StatusError:
    """500 as a real server words a failed webhook call."""
    return StatusError(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )


def too_many_requests(message: str, *, causes: Iterable[Mapping[str, str]] = ()) -> StatusError:
    details = {"causes": [dict(each) for each in causes]} if causes else {}
    return StatusError(429, "TooManyRequests", message, details)
