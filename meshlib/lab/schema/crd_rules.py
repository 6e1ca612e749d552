"""The validation rules of Istio's custom resources, by the names that `istio_kinds.yaml` uses.

Each function says whether a value satisfies its rule. The structure of the value has been checked before,
so a field that is there has the right type. `Broken` is for a rule that cannot be evaluated on the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .durations import duration_ns
from .model import Obj


class Broken(Exception):
    """A rule whose evaluation fails, with the text of the evaluator."""


def _at_most_one(*names: str) -> Callable[[Obj], bool]:
    return lambda value: sum(name in value for name in names) <= 1


def _duration(value: str) -> bool:
    parsed = duration_ns(value)
    if parsed is None:
        raise Broken("type conversion error from 'string' to 'google.protobuf.Duration'")
    return parsed >= 1_000_000


def _port_keys(value: Obj) -> bool:
    for key in value:
        if not re.fullmatch(r"[+-]?\d{1,18}", key):
            raise Broken("type conversion error from 'string' to 'int'")
        if not 0 < int(key) <= 65535:
            return False
    return True


def _scheme(value: str) -> str | None:
    """The scheme of a URL as CEL's url library sees it; None for what is no absolute URL."""
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:", value):
        return None
    try:
        return urlsplit(value).scheme
    except ValueError:
        return None


def _wasm_url(value: str) -> bool:
    scheme = _scheme(value)
    return scheme in ("http", "https", "file", "oci") if scheme is not None else True


def _http_url(value: str) -> bool:
    scheme = _scheme(value)
    if scheme is None and not value.startswith("/"):
        raise Broken(
            f'URL parse error during conversion from string: parse "{value}": invalid URI for request'
        )
    return scheme in ("http", "https")


def _waypoint_context(value: Obj) -> bool:
    return ("waypoint" in value) == (value.get("context") == "WAYPOINT")


def _cidr_resolution(value: Obj) -> bool:
    fixed = value.get("resolution", "NONE") in ("STATIC", "NONE")
    return fixed or not any("/" in each for each in value.get("addresses", ()))


def _uds_absolute(value: str) -> bool:
    if not value.startswith("unix://"):
        return True
    if len(value) < 8:
        raise Broken(f"index out of range: {8}")
    return value[7] in "/@"


def _port_names(value: Obj) -> bool:
    return all(
        len(key) < 63 and re.fullmatch(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", key) for key in value
    )


def _service_accounts_alone(value: Obj) -> bool:
    if "serviceAccounts" not in value and "notServiceAccounts" not in value:
        return True
    return not any(name in value for name in ("principals", "notPrincipals", "namespaces", "notNamespaces"))


def _port_levels(value: Obj) -> bool:
    labels = (value.get("selector") or {}).get("matchLabels") or {}
    return "portLevelMtls" not in value or bool(labels)


def _upsert_value(value: Obj) -> bool:
    if value.get("operation", "") != "UPSERT":
        return True
    if "value" not in value:
        raise Broken("no such key: value")
    return bool(value["value"] != "")


def _unique_numbers(value: list[Obj]) -> bool:
    numbers = [each.get("number") for each in value]
    return len(numbers) == len(set(numbers))


_TABLE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "duration": ("must be a valid duration greater than 1ms", _duration),
    "port_range": ("port must be between 1-65535", lambda value: 0 < value <= 65535),
    "port_keys": ("port must be between 1-65535", _port_keys),
    "targets_or_selector": (
        "only one of targetRefs or selector can be set",
        _at_most_one("selector", "targetRef", "targetRefs"),
    ),
    "targets_or_workload_selector": (
        "only one of targetRefs or workloadSelector can be set",
        _at_most_one("workloadSelector", "targetRefs"),
    ),
    "wasm_or_lua": (
        "exactly one of wasm or lua must be set",
        lambda value: ("wasm" in value) != ("lua" in value),
    ),
    "label_key_wildcard": (
        "wildcard not allowed in label key match",
        lambda value: all("*" not in k for k in value),
    ),
    "key_not_empty": ("key must not be empty", lambda value: all(value)),
    "label_value_wildcard": ("wildcard not allowed in label value match", lambda value: "*" not in value),
    "selector_wildcard": ("wildcard is not supported in selector", lambda value: "*" not in value),
    "no_other_namespace": ("cross namespace referencing is not currently supported", lambda value: not value),
    "wasm_url": ("url must have schema one of [http, https, file, oci]", _wasm_url),
    "http_url": ("url must have scheme http:// or https://", _http_url),
    "value_only_inline": (
        "value may only be set when valueFrom is INLINE",
        lambda value: value.get("valueFrom", "") != "HOST" or "value" not in value,
    ),
    "waypoint_context": ("only support waypointMatch when context is WAYPOINT", _waypoint_context),
    "credential_names_or_certificates": (
        "only one of credentialNames or tlsCertificates can be set",
        _at_most_one("tlsCertificates", "credentialNames"),
    ),
    "credential_name_or_names": (
        "only one of credentialName or credentialNames can be set",
        _at_most_one("credentialName", "credentialNames"),
    ),
    "credential_name_or_certificates": (
        "only one of credentialName or tlsCertificates can be set",
        _at_most_one("credentialNames", "tlsCertificates"),
    ),
    "selector_or_endpoints": (
        "only one of WorkloadSelector or Endpoints can be set",
        _at_most_one("workloadSelector", "endpoints"),
    ),
    "cidr_resolution": ("CIDR addresses are allowed only for NONE/STATIC resolution types", _cidr_resolution),
    "none_without_endpoints": (
        "NONE mode cannot set endpoints",
        lambda value: value.get("resolution", "NONE") != "NONE" or "endpoints" not in value,
    ),
    "round_robin_one_endpoint": (
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
        lambda value: value.get("resolution") != "DNS_ROUND_ROBIN" or len(value.get("endpoints", ())) <= 1,
    ),
    "address_required": ("Address is required", lambda value: "address" in value or "network" in value),
    "uds_without_ports": (
        "UDS may not include ports",
        lambda value: not value.get("address", "").startswith("unix://") or "ports" not in value,
    ),
    "uds_absolute": ("UDS must be an absolute path or abstract socket", _uds_absolute),
    "uds_not_dir": (
        "UDS may not be a dir",
        lambda value: not (value.startswith("unix://") and value.endswith("/")),
    ),
    "port_names": ("port name must be valid", _port_names),
    "host_not_wildcard": ("hostname cannot be wildcard", lambda value: value != "*"),
    "port_numbers_unique": ("port number cannot be duplicated", _unique_numbers),
    "probe_scheme": ("scheme must be one of [HTTP, HTTPS]", lambda value: value in ("", "HTTP", "HTTPS")),
    "service_accounts_alone": (
        "Cannot set serviceAccounts with namespaces or principals",
        _service_accounts_alone,
    ),
    "port_levels_need_selector": ("portLevelMtls requires selector", _port_levels),
    "one_jwks": ("only one of jwks or jwksUri can be set", _at_most_one("jwksUri", "jwks_uri", "jwks")),
    "upsert_value": ("value must be set when operation is UPSERT", _upsert_value),
    "remove_value": (
        "value must not be set when operation is REMOVE",
        lambda value: value.get("operation", "") != "REMOVE" or "value" not in value,
    ),
}

RULES = {name: rule for name, (_, rule) in _TABLE.items()}
MESSAGES = {name: message for name, (message, _) in _TABLE.items()}
