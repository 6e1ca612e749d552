"""Request bodies: size, form, and whether they are what the path is about."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import yaml

from meshlib.lab import schema
from meshlib.lab.schema import KindRef

from .codec import decode
from .errors import StatusError, bad_request, invalid
from .gojson import summary, syntax_error
from .kind_table import KINDS
from .kinds import Kind
from .request import Target, unsupported_body
from .store import Obj

LIMIT = 3 * 1024 * 1024
PROTOBUF = "application/vnd.kubernetes.protobuf"
SCHEME = '"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"'
_STRUCT = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


def too_large() -> StatusError:
    message = f"Request entity too large: limit is {LIMIT}"
    return StatusError(413, "RequestEntityTooLarge", message, {})


def read_object(target: Target, body: bytes, content_type: str, *, kind: KindRef | None = None) -> Obj:
    """The object of a body, with kind and apiVersion filled in; raises StatusError 400, 415.

    `kind` is what the path takes when that is not the target's own kind (Scale, Eviction, …).
    """
    ref = kind or target.kind.at(target.version)
    value = read_value(target, ref, body, content_type)
    if not isinstance(value, dict):
        shown = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        why = f"json: cannot unmarshal {shown} into Go value of type {_STRUCT}"
        raise _unrecognized(ref, f"couldn't get version/kind; json parse error: {why}", body)
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key, ""), str):
            shown = {list: "array", dict: "object", bool: "bool"}.get(type(value[key]), "number")
            field = "APIVersion" if key == "apiVersion" else "Kind"
            why = f"json: cannot unmarshal {shown} into Go struct field .{key} of type string"
            raise _unrecognized(ref, f"couldn't get version/kind; json parse error: {why}", body, field)
    if target.kind.custom and not value.get("kind"):
        shown = body.decode("utf-8", "replace")
        raise _unrecognized(ref, f"Object 'Kind' is missing in '{shown}'", body)
    if target.kind.custom and not value.get("apiVersion"):
        value["apiVersion"] = ""
    _check_type(target, ref, value)
    value["apiVersion"], value["kind"] = ref.api_version, ref.kind
    if value.get("metadata") is None:
        value["metadata"] = {}
    if text := schema.decode_error(ref, value):
        raise bad_request(text)
    if not isinstance(value["metadata"], dict):
        raise bad_request(
            f'{ref.kind} in version "{ref.version}" cannot be handled as a {ref.kind}: no metadata'
        )
    return value


def read_value(target: Target, ref: KindRef, body: bytes, content_type: str, *, options: bool = False) -> Any:
    """The JSON value of a body in any accepted form; raises StatusError 400, 415.

    The `options` of a DELETE are refused without the body being shown.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media == PROTOBUF and not target.kind.custom:
        return _from_protobuf(ref, body)
    if media in ("", "application/json"):
        try:
            return read_json(body)
        except ValueError as error:
            why = f"couldn't get version/kind; json parse error: {error}"
            if options:
                raise bad_request(why) from error
            raise _unrecognized(ref, why, body) from error
        except RecursionError as error:
            raise bad_request("exceeded max depth") from error
    if media == "application/yaml":
        return read_yaml(ref, body)
    raise unsupported_body()


def read_yaml(ref: KindRef, body: bytes) -> Any:
    """The value of a YAML body as JSON has it; raises StatusError 400."""
    if body[:1] == b"{":  # most clients send JSON, which is YAML too
        with contextlib.suppress(ValueError, RecursionError):
            return decode(body)
    try:
        # JSON has no dates and only text as keys: what YAML makes of them goes back to text.
        loaded = schema.load_yaml(body)
        return _with_replacements(json.dumps(loaded, default=str, ensure_ascii=False))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        why = f"couldn't get version/kind; json parse error: error converting YAML to JSON: yaml: {first}"
        raise _unrecognized(ref, why, body) from error


def read_json(body: bytes) -> Any:
    """The value of a JSON text; raises ValueError in Go's words, RecursionError for one that is too deep.

    Like Go's decoder it puts U+FFFD for what is not UTF-8 and for half a surrogate pair.
    """
    try:
        return decode(body)
    except ValueError:
        if why := syntax_error(body):
            raise ValueError(why) from None
    value = json.loads(body.decode("utf-8", "replace"))
    return _with_replacements(json.dumps(value, ensure_ascii=False))


def _with_replacements(text: str) -> Any:
    """JSON text read with U+FFFD for each half of a surrogate pair."""
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _from_protobuf(ref: KindRef, body: bytes) -> Any:
    reader = getattr(schema, "protobuf_to_obj", None)
    if reader is None:
        raise unsupported_body()
    try:
        return reader(body)
    except ValueError as error:
        raise _unrecognized(ref, str(error), body) from error


def _check_type(target: Target, ref: KindRef, value: Obj) -> None:
    kind, version = value.get("kind") or ref.kind, value.get("apiVersion", ref.api_version)
    if not target.kind.custom:
        version = version or ref.api_version
    if (kind, version) == (ref.kind, ref.api_version):
        return
    if kind == ref.kind:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({ref.api_version})"
        )
    if target.kind.custom:
        group = version.rpartition("/")[0]
        name = str((value.get("metadata") or {}).get("name", ""))
        cause = ("kind", "FieldValueInvalid", f'Invalid value: "{kind}": must be {ref.kind}')
        raise invalid(group, kind, name, [cause])
    group, _, short = version.rpartition("/")
    package = short if group else "v1"
    if KINDS.of_kind(group, kind) is None:
        why = f'no kind "{kind}" is registered for version "{version}" in scheme {SCHEME}'
    else:
        ours = (ref.group.partition(".")[0] or "core").removesuffix("registration")
        why = f"converting ({package}.{kind}) to ({ours}.{ref.kind}): unknown conversion"
    raise bad_request(f'{kind} in version "{short}" cannot be handled as a {ref.kind}: {why}')


def _unrecognized(ref: KindRef, why: str, body: bytes, _: str = "") -> StatusError:
    return bad_request(
        f"the object provided is unrecognized (must be of type {ref.kind}): {why} ({summary(body)})"
    )


def check_names(target: Target, obj: Obj) -> None:
    """The name and namespace of a body must be those of the path; raises StatusError 400."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    if target.name is not None:
        if not meta.get("name"):
            raise bad_request(
                f"the name of the object ({target.name} based on URL) was undeterminable: "
                "name must be provided"
            )
        if meta["name"] != target.name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
            )
        if target.namespace and namespace and namespace != target.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    elif target.namespace and namespace and namespace != target.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def checked_fields(kind: Kind, version: str, obj: Obj, body: bytes, validation: str) -> list[str]:
    """Drop what the kind does not have; the warnings for it, or StatusError 400 when validation is Strict."""
    ref = kind.at(version)
    found: list[str] = []
    if validation != "Ignore":
        found = schema.duplicate_keys(body) if body[:1] == b"{" else []
        found += schema.check_fields(ref, obj)
    if found and validation == "Strict":
        raise bad_request(
            f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: strict decoding error: '
            + ", ".join(found)
        )
    schema.prune(ref, obj)
    return found
