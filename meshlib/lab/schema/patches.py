"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386), with the API server's answers to bad ones."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from .model import Obj, PatchError

MAX_OPERATIONS = 10_000
_GENERIC = "the server rejected our request due to an error in our request"
_OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")


def json_patch(obj: Obj, ops: Any) -> Obj:
    """The object after a list of operations.

    A patch that is no list of operations is a 400; one whose operation fails is a 422 with the generic text
    of the API server, which does not say which operation it was.
    """
    if not isinstance(ops, list):
        raise PatchError(
            400,
            f"error decoding patch: json: cannot unmarshal {json_type(ops)} into Go value of type "
            "[]handlers.jsonPatchOp",
        )
    for op in ops:
        if not isinstance(op, dict):
            raise PatchError(
                400, f"json: cannot unmarshal {json_type(op)} into Go value of type jsonpatch.Operation"
            )
    if len(ops) > MAX_OPERATIONS:
        raise PatchError(
            413,
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}",
            "RequestEntityTooLarge",
        )
    try:
        result: Any = copy.deepcopy(obj)
        for op in ops:
            result = jsonpatch.JsonPatch([_lenient(_read(op), result)]).apply(result, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
        raise PatchError(422, _GENERIC) from error
    if not isinstance(result, dict):
        raise PatchError(422, _GENERIC)
    return result


def _read(op: Obj) -> Obj:
    """An operation as the API server reads it: a remove or replace needs no more than it uses."""
    if op.get("op") not in _OPERATIONS or not isinstance(op.get("path"), str):
        raise PatchError(422, _GENERIC)
    return {**op, "value": op.get("value")} if op["op"] in ("add", "replace", "test") else op


def _lenient(op: Obj, obj: Any) -> Obj:
    """A replace of what an object does not have adds it, as the API server's patch library does."""
    if op["op"] != "replace" or not op["path"]:
        return op
    parent, _, _ = op["path"].rpartition("/")
    holder = jsonpointer.resolve_pointer(obj, parent)
    return {**op, "op": "add"} if isinstance(holder, dict) else op


def merge_patch(obj: Any, patch: Any) -> Any:
    """The object after a merge patch: null removes, objects merge, all else replaces. Inputs are not
    changed.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_type(value: Any) -> str:
    """What Go's JSON decoder calls a value's type in its errors."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case None:
            return "null"
    return "object"
