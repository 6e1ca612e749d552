"""Answers as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from starlette.responses import Response

from .codec import encode
from .errors import StatusError
from .request import Form

JSON = "application/json"


_NO_FOLDING = 1 << 30
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Quotes with double quotes where text would read as something else, as Go's library does."""


def _text(dumper: Any, text: str) -> Any:
    tag = "tag:yaml.org,2002:str"
    if "\n" in text:
        return dumper.represent_scalar(tag, text, style="|")
    plain = dumper.resolve(yaml.ScalarNode, text, (True, False)) == tag
    return dumper.represent_scalar(tag, text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def json_response(
    value: Any, status: int = 200, *, form: Form | None = None, warnings: Iterable[str] = ()
) -> Response:
    """`value` as JSON or, where the form says so, as YAML."""
    if form is not None and form.media == "yaml":
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=True, width=_NO_FOLDING, allow_unicode=True)
        return raw_response(text.encode(), status, media="application/yaml", warnings=warnings)
    return raw_response(encode(value) + b"\n", status, warnings=warnings)


def raw_response(
    body: bytes, status: int = 200, *, media: str = JSON, warnings: Iterable[str] = ()
) -> Response:
    response = Response(body, status, media_type=media, headers={"Cache-Control": "no-cache, private"})
    for text in dict.fromkeys(warnings):
        response.headers.append("Warning", f'299 - "{_quoted(text)}"')
    return response


def error_response(error: StatusError) -> Response:
    """The `Status` of an error; 429 and 504 say when to come again."""
    response = json_response(error.body(), error.status)
    wait_s = (error.details or {}).get("retryAfterSeconds")
    if error.status == 429:
        wait_s = wait_s or 10
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    return response


def success(status: int = 200, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A `Status` that says that it worked; without details it carries its code."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        body["details"] = dict(details)
    else:
        body["code"] = status
    return body


def _quoted(text: str) -> str:
    """A header holds one line of printable Latin-1."""
    line = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
    return line.encode("latin-1", "replace").decode("latin-1")
