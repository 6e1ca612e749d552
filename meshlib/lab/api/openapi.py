"""/openapi/v3 and /openapi/v2, made when they are first asked for."""

from __future__ import annotations

import hashlib

from starlette.responses import Response

from .codec import encode
from .discovery import all_group_versions
from .errors import no_such_resource
from .responses import json_response


class OpenApi:
    """Answers below /openapi; documents are kept as bytes once made."""

    def __init__(self, git_version: str) -> None:
        self._git_version = git_version

    def answer(self, path: str, accept: str, etag: str) -> Response:
        if path == "/openapi/v3":
            found = {}
            for group, version in all_group_versions():
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                digest = hashlib.sha256(encode([name, self._git_version])).hexdigest().upper()
                found[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}
            return json_response({"paths": found})
        raise no_such_resource()
