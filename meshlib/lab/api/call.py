"""One request to a resource, with everything that its handler needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from .identity import Identity
from .registry import Registry
from .request import Form, Query, Target, WriteOptions
from .responses import json_response
from .store import Obj
from .tables import partial, scale_table, table
from .writes import Write


@dataclass(slots=True)
class Call:
    """`warnings` collects texts for the Warning headers of the answer."""

    registry: Registry
    identity: Identity
    target: Target
    query: Query
    form: Form
    closing: asyncio.Event
    body: bytes = b""
    content_type: str = ""
    user_agent: str = ""
    warnings: list[str] = field(default_factory=list)

    def write(self, options: WriteOptions, *, operation: str = "Update", **more: Any) -> Write:
        """How the registry is to write for this call."""
        manager = options.manager or _manager(self.user_agent)
        return Write(
            manager,
            version=self.target.version,
            dry_run=options.dry_run,
            operation=operation,
            warnings=self.warnings,
            user=self.identity.user_info(),
            **more,
        )

    def answer(self, obj: Obj, status: int = 200, *, warnings: Iterable[str] = ()) -> Response:
        """An object in the form that was asked for."""
        shown = [*self.warnings, *warnings]
        if self.form.as_ == "PartialObjectMetadata":
            obj = partial(obj, self.form)
        elif self.form.as_ == "Table" and obj["kind"] == "Scale":
            obj = scale_table(obj, self.form, self.query.text("includeObject"))
        elif self.form.as_ == "Table":
            version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            obj = table(self.target.kind, [obj], self.form, self.query.text("includeObject"), version)
        return json_response(obj, status, form=self.form, warnings=shown)


def _manager(user_agent: str) -> str:
    """The name of a field manager that did not give one: its program."""
    name = user_agent.partition("/")[0]
    return "".join(each for each in name if each.isprintable())[:128] or "unknown"
