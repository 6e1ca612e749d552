"""Checks that several kinds share: hosts, ports, durations, headers, selectors, visibility.

A function gives the error's text, or None when there is none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from meshlib.lab.schema import re2
from meshlib.lab.schema.durations import duration_ns
from meshlib.lab.schema.findings import shown
from meshlib.lab.schema.model import Obj

from .judgement import Judgement

LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_WILDCARD_LABEL = rf"\*|(?:\*|\*-)?{LABEL}"
_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_TAG_KEY = rf"(?:{LABEL}(?:\.{LABEL})*/)?({_QUALIFIED})"
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~A-Za-z0-9]+")
MAX_LABEL, MAX_DOMAIN, MAX_REGEX = 63, 255, 1024
UNIX = "unix://"
HTTP_PROTOCOLS = ("http", "http2", "http_proxy", "grpc", "grpc-web")
TLS_PROTOCOLS = ("https", "tls")
TCP_PROTOCOLS = ("tcp", "https", "tls", "mongo", "redis", "mysql")
PROTOCOLS = frozenset([*HTTP_PROTOCOLS, *TCP_PROTOCOLS, "udp"])
_TARGETS = {
    ("core", "Service"): "/v1/Service",
    ("networking.istio.io", "ServiceEntry"): "networking.istio.io/v1/ServiceEntry",
    ("gateway.networking.k8s.io", "Gateway"): "gateway.networking.k8s.io/v1/Gateway",
    ("gateway.networking.k8s.io", "GatewayClass"): "gateway.networking.k8s.io/v1/GatewayClass",
}


def quoted(text: Any) -> str:
    return shown(str(text))


def is_label(text: str) -> bool:
    return len(text) <= MAX_LABEL and re.fullmatch(LABEL, text) is not None


def port(number: int) -> str | None:
    return None if 1 <= number <= 65535 else f"port number {number} must be in the range 1..65535"


def duration(text: str | None) -> str | None:
    if text is None:
        return None
    parsed = duration_ns(text)
    if parsed is None or parsed < 10**6:
        return "duration must be greater than 1ms"
    return "only durations to ms precision are supported" if parsed % 10**6 else None


def ip_address(text: str) -> str | None:
    return None if is_ip(text) else f"{text} is not a valid IP"


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def subnet(text: str) -> str | None:
    if text.count("/") != 1:
        return ip_address(text)
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return f"{text} is not a valid CIDR block"
    return None


def _length(domain: str) -> str | None:
    if len(domain) > MAX_DOMAIN:
        return f"domain name {quoted(domain)} too long (max {MAX_DOMAIN})"
    return None if domain else "empty domain name not allowed"


def _labels(domain: str) -> str | None:
    parts = domain.split(".")
    if re.fullmatch(r"[+-]?[0-9]+", parts[-1]):
        top = f"top level domain {quoted(parts[-1])} cannot be all-numeric"
        return f"domain name {quoted(domain)} invalid ({top})"
    for index, part in enumerate(parts):
        if index == len(parts) - 1 and not part:
            return None
        if not is_label(part):
            return f"domain name {quoted(domain)} invalid (label {quoted(part)} invalid)"
    return None


def fqdn(domain: str) -> str | None:
    return _length(domain) or _labels(domain)


def wildcard_domain(domain: str) -> str | None:
    """A domain whose first label may be or begin with a wildcard."""
    error = _length(domain)
    if error:
        return error
    first, dot, rest = domain.partition(".")
    if len(first) > MAX_LABEL or re.fullmatch(_WILDCARD_LABEL, first) is None:
        return f"domain name {quoted(domain)} invalid (label {quoted(first)} invalid)"
    return _labels(rest) if dot else None


def partial_wildcard(host: str) -> str | None:
    if "*" in host and len(host) != 1 and not host.startswith("*."):
        return f"partial wildcard {quoted(host)} not allowed"
    return None


def slash_host(host: str, *, gateway: bool) -> Iterator[str]:
    """Errors of a host as Gateways and Sidecars have it: `namespace/dnsName`; Gateways may leave the
    namespace out.
    """
    namespace, slash, name = host.partition("/")
    if not slash:
        if gateway:
            yield from _host_part(host, gateway=True)
        else:
            yield "host must be of form namespace/dnsName"
        return
    if not namespace or not name:
        yield "config namespace and dnsName in host entry cannot be empty"
    plain = namespace if gateway else namespace.removeprefix("~")
    if plain not in ("*", ".") and not is_label(plain) and (gateway or plain):
        yield f"invalid namespace value {quoted(namespace)} in {'gateway' if gateway else 'sidecar'}"
    yield from _host_part(name, gateway=gateway)


def _host_part(host: str, *, gateway: bool) -> Iterator[str]:
    if host != "*" and "." not in host:
        yield "short names (non FQDN) are not allowed"
    error = wildcard_domain(host)
    if error and not gateway:
        yield error
    if error and not is_ip(host):
        yield error
    partial = partial_wildcard(host)
    if partial:
        yield partial


def host_matches(one: str, other: str) -> bool:
    """Whether two hosts, each perhaps a wildcard, have a name in common."""
    if one[:1] == "*" and other[:1] == "*":
        short, long = sorted((one[1:], other[1:]), key=len)
        return long.endswith(short)
    if one[:1] == "*":
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other[:1] == "*" else one == other


def host_within(host: str, wider: str) -> bool:
    """Whether every name of `host` is one of `wider`."""
    if host[:1] == "*":
        return wider[:1] == "*" and len(host) >= len(wider) and host[1:].endswith(wider[1:])
    return host.endswith(wider[1:]) if wider[:1] == "*" else host == wider


def labels(found: Judgement, values: Obj | None) -> None:
    for key, value in (values or {}).items():
        match = re.fullmatch(_TAG_KEY, key)
        if match is None:
            found.add_listed(f"invalid tag key: {quoted(key)}")
        elif len(match[1]) > MAX_LABEL:
            found.add_listed(f"invalid tag key: {quoted(key)} (name is too long)")
        if re.fullmatch(rf"(?:{_QUALIFIED})?", value) is None:
            found.add_listed(f"invalid tag value: {quoted(value)}")


def regex(pattern: str, where: str) -> str | None:
    if len(pattern) > MAX_REGEX:
        return f'"{where}": regex is too large, max length allowed is {MAX_REGEX}'
    if reason := re2.refusal(pattern):
        more = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
        return f'"{where}": error parsing regexp: {reason}: `{pattern}`; {more}'
    return None


def string_match(match: Obj | None, where: str, *, empty_prefix: bool = False) -> str | None:
    if match is None:
        return None
    if match.get("prefix") == "" and not empty_prefix:
        return f'"{where}": prefix string match should not be empty'
    if "regex" in match:
        if not match["regex"]:
            return f'"{where}": regex string match should not be empty'
        return regex(match["regex"], where)
    return None


def header_name(name: str) -> str | None:
    if not name:
        return "header name cannot be empty"
    if name.startswith("@request.auth.claims") or name in (
        ":method",
        ":scheme",
        ":authority",
        ":path",
        ":status",
    ):
        return None
    return None if _HEADER.fullmatch(name) else f"header name {name} is not a valid header name"


def cors_header_name(name: str) -> str | None:
    if not name:
        return "header name cannot be empty"
    return (
        None if name == "*" or _HEADER.fullmatch(name) else f"header name {name} is not a valid header name"
    )


def header_operations(found: Judgement, headers: Obj | None) -> None:
    """What a route does to headers: only a request may set its authority."""
    for side in ("request", "response"):
        operations = (headers or {}).get(side) or {}
        for name, value in [*(operations.get("add") or {}).items(), *(operations.get("set") or {}).items()]:
            found.add(_operation_name(name, authority=side == "request"), _header_value(value))
        for name in operations.get("remove") or ():
            found.add(_operation_name(name, authority=False))


def _operation_name(name: str, *, authority: bool) -> str | None:
    if not name:
        return "header name cannot be empty"
    host = name.lower() == "host"
    if authority and (host or name.lower() == ":authority"):
        return None
    if host:
        return f"invalid header {quoted(name)}: cannot set Host header"
    return f'invalid header {quoted(name)}: header cannot have ":" prefix' if name.startswith(":") else None


def _header_value(value: str) -> str | None:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        return f"header value configuration {value} is invalid"
    if value.replace("%%", "").count("%") % 2:
        return (
            "header value configuration: expected closing '%' in header value, "
            f"or '%%' for a literal percent sign: {value}"
        )
    return None


def export_to(found: Judgement, namespace: str, values: list[str] | None, *, entry: bool = False) -> None:
    seen: set[str] = set()
    for value in values or ():
        key = namespace if value == "." else value
        if key in seen and key != value:
            found.add(f"duplicate entries in exportTo: . and current namespace {namespace}")
        elif key in seen:
            found.add(f"duplicate entries in exportTo for entry {value}")
        elif key == "~" and not entry:
            found.add("exportTo ~ (none) is not allowed for Istio configuration objects")
        elif key not in ("*", "~") and not is_label(key):
            found.add(f"only .,*, or a valid DNS 1123 label is allowed as exportTo entry: {key}")
        else:
            seen.add(key)
    if "*" in seen and len(values or ()) > 1:
        found.add("cannot have both public (*) and non-public exportTo values for a resource")
    if "~" in seen and len(values or ()) > 1:
        found.add("cannot export service entry to no one (~) and someone")


def selector(found: Judgement, spec: Obj) -> None:
    """The selector of a policy, and the references that may stand in its place."""
    chosen = spec.get("selector")
    references = [*([spec["targetRef"]] if spec.get("targetRef") else []), *(spec.get("targetRefs") or ())]
    ways = [chosen is not None, spec.get("targetRef") is not None, bool(spec.get("targetRefs"))]
    if sum(ways) > 1:
        found.add("only one of targetRefs or workloadSelector can be set")
    if chosen is not None:
        wanted = chosen.get("matchLabels") or {}
        for key, value in wanted.items():
            if not key:
                found.add(f"empty key is not supported in selector: {quoted(f'{key}={value}')}")
            if "*" in key or "*" in value:
                found.add(f"wildcard is not supported in selector: {quoted(f'{key}={value}')}")
        if not wanted:
            found.warn("workload selector specified without labels")
    for reference in references:
        if not reference.get("name"):
            found.add("targetRef name must be set")
        if reference.get("namespace"):
            found.add("targetRef namespace must not be set; cross namespace referencing is not supported")
        group = reference.get("group") or ""
        if (group or "core", reference.get("kind")) not in _TARGETS:
            allowed = " ".join(_TARGETS.values())
            found.add(f"targetRef must be to one of [{allowed}] but was {group}/{reference.get('kind')}")
