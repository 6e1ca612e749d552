"""/openapi/v3, made from the schemas when it is first asked for.

`kubectl explain` reads the schemas and which kind a path is about; `kubectl apply` and `create` look
whether PATCH takes `fieldValidation` and then leave validation to the server.  /openapi/v2, which kubectl
reads for a `List` and for kinds that are in no document of version 3, has no definitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from meshlib.lab.schema import KindRef
from meshlib.lab.schema.explain import components

from .codec import encode
from .discovery import all_group_versions
from .errors import no_such_resource
from .kind_table import KINDS
from .kinds import Kind
from .request import not_acceptable
from .responses import json_response, raw_response

Doc = dict[str, Any]
_PROTOBUF_2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_KIND_KEY = "x-kubernetes-group-version-kind"
# HTTP method, verb, x-kubernetes-action
_COLLECTION = (
    ("get", "list", "list"),
    ("post", "create", "post"),
    ("delete", "deletecollection", "deletecollection"),
)
_ITEM = (
    ("get", "get", "get"),
    ("put", "update", "put"),
    ("patch", "patch", "patch"),
    ("delete", "delete", "delete"),
)


class OpenApi:
    """Answers below /openapi; a group's document is kept as bytes once made."""

    def __init__(self, git_version: str) -> None:
        self._git_version = git_version
        self._made: dict[str, bytes] = {}

    def answer(self, path: str, accept: str, etag: str) -> Response:
        """Raises StatusError 404, 406."""
        if path == "/openapi/v3":
            names = [_name(*each) for each in all_group_versions()]
            found = {
                each: {"serverRelativeURL": f"/openapi/v3/{each}?hash={self._hash(each)}"} for each in names
            }
            return json_response({"paths": found})
        if path == "/openapi/v2":
            return self._version_2(accept)
        name = path.removeprefix("/openapi/v3/")
        known = {_name(*each): each for each in all_group_versions()}
        if name not in known:
            raise no_such_resource()
        if "json" not in accept and "*/*" not in accept and accept:
            raise not_acceptable(None)
        tag = f'"{self._hash(name)}"'
        if etag == tag:
            return Response(status_code=304, headers={"Etag": tag})
        if name not in self._made:
            self._made[name] = encode(document(*known[name], self._git_version))
        response = raw_response(self._made[name])
        response.headers["Etag"] = tag
        return response

    def _version_2(self, accept: str) -> Response:
        """A document without definitions: what kubectl then does is to leave validation to the server."""
        if "protobuf" not in accept:
            info = {"title": "Kubernetes", "version": self._git_version}
            return json_response({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})
        info_fields = _text(1, "Kubernetes") + _text(2, self._git_version)
        return raw_response(_text(1, "2.0") + _field(2, info_fields), media=_PROTOBUF_2)

    def _hash(self, name: str) -> str:
        return hashlib.sha256(encode([name, self._git_version])).hexdigest().upper()


def document(group: str, version: str, git_version: str) -> Doc:
    """The OpenAPI v3 document of a group and version."""
    kinds = [kind for kind in KINDS if kind.group == group and version in kind.versions]
    paths = {path: item for kind in kinds for path, item in _paths(kind, version)}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": git_version},
        "paths": paths,
        "components": {"schemas": components(kind.at(version) for kind in kinds)},
    }


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _name(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _paths(kind: Kind, version: str) -> Iterator[tuple[str, Doc]]:
    root = f"/{_name(kind.group, version)}/"
    collection = root + ("namespaces/{namespace}/" if kind.namespaced else "") + kind.plural
    yield collection, _operations(kind, version, _COLLECTION)
    if kind.virtual:
        return
    yield collection + "/{name}", _operations(kind, version, _ITEM)
    if kind.namespaced:
        yield root + kind.plural, _operations(kind, version, _COLLECTION[:1])


def _operations(kind: Kind, version: str, actions: tuple[tuple[str, str, str], ...]) -> Doc:
    made: Doc = {}
    for method, verb, action in actions:
        if verb in kind.verbs:
            names = (
                ["dryRun", "fieldManager", "fieldValidation"] if method in ("post", "put", "patch") else []
            )
            made[method] = {
                "operationId": f"{verb}{kind.group.replace('.', '')}{version}{kind.kind}",
                "parameters": [
                    {"name": each, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                    for each in names
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action,
                _KIND_KEY: _kind_map(kind.at(version)),
            }
    return made


def _kind_map(ref: KindRef) -> Doc:
    return {"group": ref.group, "version": ref.version, "kind": ref.kind}
