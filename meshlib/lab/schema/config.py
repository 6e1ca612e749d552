"""What the API server checks in ConfigMaps and Secrets: keys, sizes, and what an immutable one keeps."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator

from . import findings as say
from .meta import IMMUTABLE
from .model import Finding, Obj

MAX_B = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


def _frozen(obj: Obj, old: Obj | None, *fields: str) -> Iterator[Finding]:
    if old is None or not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield say.forbidden("immutable", _FROZEN)
    for field in fields:
        if (obj.get(field) or {}) != (old.get(field) or {}):
            yield say.forbidden(field, _FROZEN)


def validate_config_map(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    yield from _frozen(obj, old, "data", "binaryData")
    for key in set(obj.get("data") or {}) & set(obj.get("binaryData") or {}):
        yield say.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    total = sum(len(value.encode()) for value in (obj.get("data") or {}).values())
    if total > MAX_B:
        yield say.too_long("", MAX_B)


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def validate_secret(obj: Obj, old: Obj | None) -> Iterator[Finding]:
    data, kind = obj.get("data") or {}, obj.get("type")
    if old is not None:
        if kind != old.get("type"):
            yield say.invalid("type", kind, IMMUTABLE)
        yield from _frozen(obj, old, "data")
    for key in _SECRET_KEYS.get(kind or "", ()):
        if key not in data:
            yield say.required(f"data[{key}]")
        elif key.startswith(".docker") and (why := _json_problem(data[key])):
            yield say.invalid(f"data[{key}]", "<secret contents redacted>", why)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        yield say.required("data[username]")
        yield say.required("data[password]")
    account = "kubernetes.io/service-account.name"
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if kind == "kubernetes.io/service-account-token" and not annotations.get(account):
        yield say.required(f"metadata.annotations[{account}]")
    if sum(len(value) * 3 // 4 for value in data.values()) > MAX_B:
        yield say.too_long("data", MAX_B)


def _json_problem(encoded: str) -> str:
    """What is wrong with a JSON text in base64, told by its first character where that is it; "" for none."""
    try:
        text = base64.b64decode(encoded)
        json.loads(text)
    except (ValueError, binascii.Error):
        first = text[:1].decode("latin-1")
        if not first:
            return "unexpected end of JSON input"
        if first not in '{["-0123456789tfn':
            return f"invalid character '{first}' looking for beginning of value"
        return "invalid character"
    return ""
