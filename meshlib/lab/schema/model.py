"""What the functions of this package take, return and raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

Obj = dict[str, Any]


class KindRef(NamedTuple):
    """A kind as an object names it: `apps`, `v1`, `Deployment`; the core group is the empty string."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Finding:
    """One cause of a 422 answer; `reason` is one of the API's `FieldValue…` words."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class PatchError(Exception):
    """A patch that cannot be applied; `status` is the HTTP code and `reason` the word of the answer."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        self.status = status
        self.message = message
        self.reason = reason or {400: "BadRequest", 409: "Conflict", 422: "Invalid"}.get(status, "")
        super().__init__(message)


class ApplyConflict(Exception):
    """A server-side apply that would change fields of other managers (HTTP 409, reason `Conflict`).

    `causes` has one Finding a field with reason `FieldManagerConflict`, in the order of the answer.
    """

    def __init__(self, causes: list[Finding], message: str) -> None:
        self.causes = causes
        self.message = message
        super().__init__(message)
