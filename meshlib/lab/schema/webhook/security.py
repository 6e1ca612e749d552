"""PeerAuthentication, RequestAuthentication and AuthorizationPolicy."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from meshlib.lab.schema.model import Obj

from . import common
from .common import quoted
from .judgement import Judgement

_EMPTY_RULES = (
    "is meaningless as it will never be triggered, "
    "add an empty rule `{}` if you want it be triggered for every request"
)
_TCP_WARNING = (
    "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of "
    "only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port"
)
_SOURCE = (
    "principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains", "ipBlocks",
    "remoteIpBlocks",
)  # fmt: skip
_OPERATION = ("ports", "methods", "paths", "hosts")
_NOT_CUSTOM = ("namespaces", "serviceAccounts", "trustDomains", "principals", "requestPrincipals")
_PLAIN_ATTRIBUTES = (
    "source.namespace", "source.principal", "request.auth.principal", "request.auth.audiences",
    "request.auth.presenter", "connection.sni",
)  # fmt: skip


def judge_peer(found: Judgement, spec: Obj) -> None:
    levels = spec.get("portLevelMtls")
    if levels and not (spec.get("selector") or {}).get("matchLabels"):
        found.add("mesh/namespace peer authentication cannot have port level mTLS")
    if levels is not None and not levels:
        found.add("port level mTLS, if defined, must have at least one element")
    for port in levels or ():
        if not (port.isdigit() and 0 < int(port) <= 65535):
            found.add("port must be in range 1..65535")
    common.selector(found, {"selector": spec.get("selector")})


def judge_request(found: Judgement, spec: Obj) -> None:
    common.selector(found, spec)
    for rule in spec.get("jwtRules") or ():
        found.add_listed(*_jwt_rule(rule))


def _jwt_rule(rule: Obj) -> Iterator[str]:
    if "" in (rule.get("audiences") or ()):
        yield "audience must be non-empty string"
    uri = rule.get("jwksUri") or ""
    if not rule.get("issuer") and not uri:
        yield "issuer or jwksUri must be non-empty string"
    if uri and urlsplit(uri).scheme not in ("http", "https"):
        yield f"URI scheme {quoted(urlsplit(uri).scheme)} is not supported"
    if rule.get("jwks"):
        yield from _jwks(rule["jwks"])
    if any(not each.get("name") for each in rule.get("fromHeaders") or ()):
        yield "location header name must be non-empty string"
    if "" in (rule.get("fromParams") or ()):
        yield "location query must be non-empty string"
    if "" in (rule.get("fromCookies") or ()):
        yield "cookie name must be non-empty string"
    for each in rule.get("outputClaimToHeaders") or ():
        if not each.get("claim") or not each.get("header"):
            yield "outputClaimToHeaders header and claim value must be non-empty string"
        elif not re.fullmatch(r"[-_A-Za-z0-9]+", each["header"]):
            yield f"header name {each['header']} is not a valid header name"
    error = common.duration(rule.get("timeout"))
    if error:
        yield error


def _jwks(text: str) -> Iterator[str]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        yield f"jwks parse error: failed to unmarshal JWK set: {error}"
        return
    keys = parsed.get("keys", [parsed]) if isinstance(parsed, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) and key.get("kty") for key in keys):
        yield "jwks parse error: failed to unmarshal JWK set: no JSON Web Keys found"


def judge_authorization(found: Judgement, name: str, namespace: str, spec: Obj) -> None:
    action, rules = spec.get("action", "ALLOW"), spec.get("rules")
    common.selector(found, spec)
    provider = (spec.get("provider") or {}).get("name")
    if action == "CUSTOM":
        if rules is None:
            found.add(f"CUSTOM action without `rules` {_EMPTY_RULES}")
        elif not provider:
            found.add("`provider.name` must not be empty")
        _custom(found, rules or [])
    elif spec.get("provider") is not None:
        found.add(f"`provider` must not be with non CUSTOM action, found {action}")
    if action == "DENY" and rules is None:
        found.add(f"DENY action without `rules` {_EMPTY_RULES}")
    for index, rule in enumerate(rules or ()):
        _rule(found, rule, index, deny=action == "DENY")
    found.prefix(f"invalid policy {name}.{namespace}:")


def _custom(found: Judgement, rules: Iterable[Obj]) -> None:
    refused = "is currently not supported with CUSTOM action"
    for rule in rules:
        for source in (each.get("source") or {} for each in rule.get("from") or ()):
            for field in _NOT_CUSTOM:
                capital = field[0].upper() + field[1:]
                if source.get(field):
                    found.add(f"From.{capital} {refused}")
                if source.get(f"not{capital}"):
                    found.add(f"From.Not{capital} {refused}")
        for key in (each.get("key", "") for each in rule.get("when") or ()):
            if key.startswith("request.auth.") or key in (
                "source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal",
            ):  # fmt: skip
                found.add(f"{key} {refused}")


def _both(fields: Iterable[str]) -> list[str]:
    names = list(fields)
    return [*names, *("not" + each[0].upper() + each[1:] for each in names)]


def _rule(found: Judgement, rule: Obj, index: int, *, deny: bool) -> None:
    where = f"found at rule {index}"
    for part in ("from", "to"):
        if rule.get(part) is not None and not rule[part]:
            found.add(f"`{part}` must not be empty, {where}")
    sources = [each.get("source") for each in rule.get("from") or ()]
    operations = [each.get("operation") for each in rule.get("to") or ()]
    for source in sources:
        if source is None:
            found.add(f"`from.source` must not be nil, {where}")
        else:
            _source(found, source, where)
    for operation in operations:
        if operation is None:
            found.add(f"`to.operation` must not be nil, {where}")
        else:
            _operation(found, operation, where)
    for condition in rule.get("when") or ():
        _condition(found, condition)
    http_source = ("requestPrincipals", "notRequestPrincipals", "trustDomains", "notTrustDomains")
    tcp_source = any(set(each or ()) - set(http_source) for each in sources)
    tcp_operation = any({"ports", "notPorts"} & set(each or ()) for each in operations)
    from_exists, to_exists = (
        any(each is not None for each in sources),
        any(each is not None for each in operations),
    )
    if deny and ((from_exists and not to_exists and not tcp_source) or (to_exists and not tcp_operation)):
        found.warn(_TCP_WARNING)


def _source(found: Judgement, source: Obj, where: str) -> None:
    identities = _both(("principals", "namespaces"))
    if any(source.get(each) for each in identities) and any(
        source.get(each) for each in _both(("serviceAccounts",))
    ):
        found.add(f"cannot set serviceAccounts with namespaces or principals, {where}")
    if not any(source.get(each) for each in _both(_SOURCE)):
        found.add(f"`from.source` must not be empty, {where}")
    for field in _both(("ipBlocks", "remoteIpBlocks")):
        found.add_listed(*_ips(source.get(field) or ()))
    for field in _both(_SOURCE):
        values, name = source.get(field) or [], field[0].upper() + field[1:]
        if field.lower().endswith("serviceaccounts"):
            found.add(_service_accounts(name, values))
        elif "" in values:
            found.add(f"empty value not allowed, found in {name}")


def _operation(found: Judgement, operation: Obj, where: str) -> None:
    if not any(operation.get(each) for each in _both(_OPERATION)):
        found.add(f"`to.operation` must not be empty, {where}")
    for field in _both(("ports",)):
        found.add_listed(*_ports(operation.get(field) or ()))
    for field in _both(_OPERATION):
        if "" in (operation.get(field) or ()):
            found.add(f"empty value not allowed, found in {field[0].upper()}{field[1:]}")
    for field in _both(("paths",)):
        found.add(_paths(field[0].upper() + field[1:], operation.get(field) or ()))


def _ips(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        try:
            (ipaddress.ip_interface if "/" in value else ipaddress.ip_address)(value)
        except ValueError as error:
            yield f"bad CIDR range ({value}): {error}" if "/" in value else f"bad IP address ({value})"


def _ports(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if not value.isdigit():
            yield f"bad port ({value}): strconv.ParseUint: parsing {quoted(value)}: invalid syntax"
        elif int(value) > 65535:
            yield f"bad port ({value}): <nil>"


def _service_accounts(name: str, values: list[str]) -> str | None:
    if len(values) > 16:
        return "may not have more than 16 values"
    for value in values:
        if not value:
            return f"empty value not allowed, found in {name}"
        if "*" in value:
            return f"wildcard not allowed, found in {name}"
        if value.count("/") > 1:
            form = "expected format 'serviceAccount' or 'namespace/serviceAccount'"
            return f"{form}, found {quoted(value)} in {name}"
    return None


def _paths(name: str, paths: Iterable[str]) -> str | None:
    for path in paths:
        plain = path.strip("/")
        template = "{*}" in path or "{**}" in path
        last = False
        for part in plain.split("/"):
            if part in ("{*}", "{**}"):
                if last:
                    problem = "{**} is not the last operator"
                    return f"invalid or unsupported path {plain}, found in {name}. {problem}"
                last = part == "{**}"
            elif "{" in part or "}" in part:
                problem = "Contains '{' or '}' beyond a supported path template"
                return f"invalid or unsupported path {plain}, found in {name}. {problem}"
            elif template and not re.fullmatch(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+", part):
                problem = f"Contains segment {part} with invalid string literal"
                return f"invalid or unsupported path {plain}, found in {name}. {problem}"
    return None


def _condition(found: Judgement, condition: Obj) -> None:
    key = condition.get("key", "")
    if not key:
        found.add("`key` must not be empty")
        return
    if not condition.get("values") and not condition.get("notValues"):
        found.add(f"at least one of `values` or `notValues` must be set for key {key}")
        return
    for field, name in (("values", "value"), ("notValues", "notValue")):
        error = _attribute(key, condition.get(field) or [])
        if error:
            found.add(f"invalid `{name}` for `key` {key}: {error}")


def _attribute(key: str, values: list[str]) -> str | None:
    if "" in values:
        return f"empty value not allowed, found in {key}"
    if key.startswith(("request.headers", "request.auth.claims", "experimental.envoy.filters.")):
        inside = key.find("[")
        return (
            None
            if key.endswith("]") and 0 < inside < len(key) - 2
            else f"bad key ({key}): should have format a[b]"
        )
    if key in _PLAIN_ATTRIBUTES:
        return None
    checks = {
        "source.ip": _ips, "remote.ip": _ips, "destination.ip": _ips, "destination.port": _ports,
    }  # fmt: skip
    if key in checks:
        errors = Judgement()
        errors.add_listed(*checks[key](values))
        return str(errors) or None
    if key == "source.serviceAccount":
        return _service_accounts(key, values)
    if key == "source.trustDomain":
        return None
    if key == "destination.namespace":
        return f"attribute {key} is replaced by the metadata.namespace"
    if key.startswith("destination.labels"):
        return f"attribute {key} is replaced by the workload selector"
    if key in ("destination.name", "destination.user"):
        return f"deprecated attribute {key}: only supported in v1alpha1"
    return f"unknown attribute: {key}"
