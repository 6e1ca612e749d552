"""PATCH: the four kinds of patches, and server-side apply."""

from __future__ import annotations

import json
import re
from typing import Any

from meshlib.lab import schema
from meshlib.lab.schema import ApplyConflict, KindRef, PatchError

from . import strategy
from .bodies import read_json, read_yaml
from .errors import StatusError, bad_request, invalid
from .kinds import Kind
from .request import WriteOptions, unsupported_media
from .store import Obj

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MAP = "Go value of type map[string]interface {}"


def patch_type(kind: Kind, content_type: str) -> str:
    """Raises StatusError 415, worded differently for custom resources."""
    media = content_type.partition(";")[0].strip().lower()
    if kind.custom:
        if media in (JSON_PATCH, MERGE_PATCH, APPLY):
            return media
        raise unsupported_media(", ".join((JSON_PATCH, MERGE_PATCH, APPLY)))
    if media in (JSON_PATCH, MERGE_PATCH, STRATEGIC, APPLY):
        return media
    raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def read_patch(media: str, ref: KindRef, body: bytes) -> Any:
    """The value of a patch; raises StatusError 400."""
    if media == APPLY:
        value = read_yaml(ref, body)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise bad_request(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
                f"{schema.json_type(value)} into {_MAP}"
            )
        _check_applied(ref, value)
        return value
    try:
        value = read_json(body)
        if media != JSON_PATCH and not isinstance(value, dict):
            kind = schema.json_type(value)
            why = f"json: cannot unmarshal {kind} into {_MAP}"
            raise bad_request(why if media == STRATEGIC else f"error decoding patch: {why}")
        return value
    except ValueError as error:
        raise bad_request(str(error) if media == STRATEGIC else f"error decoding patch: {error}") from error
    except RecursionError as error:
        raise bad_request("error decoding patch: exceeded max depth") from error


def patched(media: str, ref: KindRef, live: Obj, patch: Any) -> Obj:
    """`live` with the patch; raises StatusError 400, 409, 415, 422."""
    try:
        if media == JSON_PATCH:
            made: Any = schema.json_patch(live, patch)
        elif media == MERGE_PATCH:
            made = schema.merge_patch(live, patch)
        else:
            made = schema.strategic_merge_patch(ref, live, patch)
    except PatchError as error:
        raise patch_failure(error) from error
    if not isinstance(made, dict) or not isinstance(made.get("metadata"), dict):
        shown = made if not isinstance(made, dict) else made.get("metadata")
        found = {list: "array", str: "string", bool: "bool", type(None): "null"}.get(type(shown), "number")
        raise _invalid_patch(
            _json(made), f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )
    if media == STRATEGIC and (text := schema.conversion_error(ref, made)):
        shown = f"Invalid value: {json.dumps(schema.go_map(patch), ensure_ascii=False)}: {text}"
        raise invalid("", "", "", [("patch", "FieldValueInvalid", shown)])
    if text := schema.decode_error(ref, made):
        if media == STRATEGIC:
            raise _invalid_patch(go_text(patch), _conversion(text))
        raise _invalid_patch(_json(made), text.partition(": ")[2] or text)
    return made


def patch_failure(error: PatchError) -> StatusError:
    """The answer to a patch that cannot be applied."""
    details: Obj | None = {} if error.status == 422 else None
    return StatusError(error.status, error.reason, error.message, details)


def prune_patched(
    media: str, ref: KindRef, made: Obj, patch: Any, validation: str, warnings: list[str]
) -> None:
    """Drop what the kind does not have; raises StatusError 422 when validation is Strict."""
    found = schema.check_fields(ref, made) if validation != "Ignore" else []
    if found and validation == "Strict":
        shown = go_text(patch) if media == STRATEGIC else _json(made)
        raise _invalid_patch(shown, "strict decoding error: " + ", ".join(found))
    warnings += found
    schema.prune(ref, made)


def applied(ref: KindRef, live: Obj | None, patch: Obj, options: WriteOptions) -> Obj:
    """The object after a server-side apply; raises StatusError 400, 409, 422."""
    if text := schema.decode_error(ref, patch):
        raise bad_request(text)
    try:
        return schema.apply(
            ref, live, patch, manager=options.manager, force=bool(options.force), now=strategy.now()
        )
    except ApplyConflict as error:
        causes = [
            {"reason": each.reason, "message": each.message, "field": each.field} for each in error.causes
        ]
        raise StatusError(409, "Conflict", error.message, {"causes": causes}) from error
    except PatchError as error:
        raise patch_failure(error) from error


def _check_applied(ref: KindRef, value: Obj) -> None:
    kind, version = value.get("kind"), value.get("apiVersion")
    if (kind, version) != (ref.kind, ref.api_version):
        group = str(version or "") if "/" in str(version) else f"/{version or ''}"
        raise bad_request(f"invalid object type: {group}, Kind={kind or ''}")
    if not isinstance(value.setdefault("metadata", {}), dict):
        raise bad_request("metadata must be an object")


def go_text(value: Any) -> str:
    """A JSON value as Go prints it with %+v: `map[spec:map[replicas:3]]`."""
    match value:
        case dict():
            return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
        case list():
            return "[" + " ".join(go_text(each) for each in value) + "]"
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
    return str(value)


_GO_KINDS = {"number": "int64", "object": "map", "array": "slice"}


def _conversion(text: str) -> str:
    """The decoder's text in the words of the converter that strategic merge patches go through."""
    found = re.search(r"cannot unmarshal (\w+).* of type (\S+)$", text)
    if found is None:
        return text.partition(": ")[2] or text
    kind, wanted = _GO_KINDS.get(found[1], found[1]), found[2]
    if kind == "int64" and wanted == "string":
        return "cannot convert int64 to string"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if wanted.startswith("map["):
        return f"cannot restore map from {kind}"
    if "." in wanted:
        return f"cannot restore struct from: {kind}"
    return f"unrecognized type: {wanted}"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _invalid_patch(shown: str, why: str) -> StatusError:
    quoted = json.dumps(shown, ensure_ascii=False)
    return invalid("", "", "", [("patch", "FieldValueInvalid", f"Invalid value: {quoted}: {why}")])
