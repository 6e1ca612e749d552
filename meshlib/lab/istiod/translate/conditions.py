"""One condition of an authorization rule, in the form in which Envoy's RBAC takes it.

Source: istio/istio pilot/pkg/security/authz/model/generator.go, matcher/*.go; istio-facts C7.
`*` alone asks that something be there; at one end of a value it stands for anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meshlib.lab.istiod.translate.matching import JWT
from meshlib.lab.istiod.translate.model import Obj, typed


class HttpOnly(Exception):
    """A condition on a request, asked for on a chain that carries no HTTP."""


class Unknown(Exception):
    """A key that no Istio knows, or a value that is not of the key's form."""


def string(value: str, prefix: str = "") -> Obj:
    """A value with `*` as Envoy's StringMatcher; `prefix` comes before everything but a lone `*`."""
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        if not prefix:
            return {"suffix": value[1:]}
        return {"safe_regex": {"regex": f"{prefix}.*{quote(value[1:])}"}}
    if value.endswith("*"):
        return {"prefix": prefix + value[:-1]}
    return {"exact": prefix + value}


def quote(text: str) -> str:
    """The text as a regular expression of RE2 that matches just it."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def header(name: str, value: str, *, ignore_case: bool = False) -> Obj:
    if value == "*":
        return {"name": name, "present_match": True}
    match = string(value)
    return {"name": name, "string_match": {**match, "ignore_case": True} if ignore_case else match}


def _address(value: str) -> Obj:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise Unknown(f"{value!r} is no address block") from error
    prefix = value.partition("/")[0]
    return {"address_prefix": prefix, "prefix_len": network.prefixlen}


@dataclass(frozen=True)
class Here:
    """The workload that a policy is for.

    trust_domains: the mesh's own and its aliases
    address: the pod's; ports: declared port → every number under which it is really bound.  In a real pod
    connections come to the declared port on the pod's own address, so conditions speak of these.
    """

    namespace: str
    address: str
    ports: Mapping[int, tuple[int, ...]]
    trust_domains: tuple[str, ...]


def _port(value: str, here: Here) -> Obj:
    if not value.isdigit() or int(value) > 65535:
        raise Unknown(f"{value!r} is no port")
    bound = [{"destination_port": number} for number in here.ports.get(int(value), ())]
    return any_of("rules", list(bound)) if bound else _NOWHERE


def _destination(value: str, here: Here) -> Obj:
    block = _address(value)
    network = ipaddress.ip_network(f"{block['address_prefix']}/{block['prefix_len']}", strict=False)
    inside = ipaddress.ip_address(here.address) in network
    return {"any": True} if inside else _NOWHERE


_NOWHERE: Obj = {"not_rule": {"any": True}}


def _path(value: str) -> Obj:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        config = typed(
            "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", path_template=template
        )
        return {"uri_template": {"name": "uri-template", "typed_config": config}}
    return {"url_path": {"path": string(value)}}


def _authenticated(match: Obj) -> Obj:
    return {"authenticated": {"principal_name": match}}


def _namespace(value: str) -> Obj:
    name = ".*".join(quote(part) for part in value.split("*"))
    return _authenticated({"safe_regex": {"regex": f".*/ns/{name}/.*"}})


def _account(value: str, namespace: str) -> Obj:
    scope, slash, account = value.rpartition("/")
    chosen = scope if slash else namespace
    return _authenticated(
        {"safe_regex": {"regex": f"spiffe://.+/ns/{quote(chosen)}/(.+/|)sa/{quote(account)}(/.+)?"}}
    )


def _trust_domain(value: str) -> Obj:
    if value == "*":
        return _authenticated({"prefix": "spiffe://"})
    if "*" not in value:
        return _authenticated({"prefix": f"spiffe://{value}/"})
    before, _, after = value.partition("*")
    return _authenticated({"safe_regex": {"regex": f"spiffe://{quote(before)}[^/]*{quote(after)}/.*"}})


def _metadata(path: list[str], value: Obj) -> Obj:
    return {"metadata": {"filter": JWT, "path": [{"key": key} for key in ["payload", *path]], "value": value}}


def _one_of(values: list[str]) -> Obj:
    """A claim that is one of the values, or a list that holds one of them."""
    matches: list[Obj] = [{"string_match": string(value)} for value in values]
    value = matches[0] if len(matches) == 1 else {"or_match": {"value_matchers": matches}}
    return {"or_match": {"value_matchers": [{"list_match": {"one_of": value}}, value]}}


_ANY: Obj = {"safe_regex": {"regex": ".+"}}


def _request_principal(value: str) -> Obj:
    """`<issuer>/<subject>`; the subject is what follows the last slash, as an issuer may be a URL."""
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        issuer, subject = value, ""
    if value == "*":
        pair = (_ANY, _ANY)
    elif value.startswith("*"):
        if slash:
            pair = (_ANY if issuer == "*" else {"suffix": issuer[1:]}, {"exact": subject})
        else:
            pair = (_ANY, {"suffix": value[1:]})
    elif value.endswith("*"):
        if slash:
            pair = ({"exact": issuer}, _ANY if subject == "*" else {"prefix": subject[:-1]})
        else:
            pair = ({"prefix": value[:-1]}, _ANY)
    else:
        pair = ({"exact": issuer}, {"exact": subject})
    ids = [
        _metadata([claim], {"string_match": match}) for claim, match in zip(("iss", "sub"), pair, strict=True)
    ]
    return {"and_ids": {"ids": ids}}


def _bracketed(key: str, start: str) -> list[str]:
    """`request.auth.claims[a][b]` → [a, b]."""
    rest = key[len(start) :]
    found = re.findall(r"\[([^\[\]]*)\]", rest)
    if not found or "".join(f"[{name}]" for name in found) != rest:
        if rest.startswith("[") and rest.endswith("]"):
            return [rest[1:-1]]
        raise Unknown(f"{key!r} names nothing in brackets")
    return found


_METADATA = "experimental.envoy.filters."
Values = list[str]
_Each = Callable[[str, Here], Obj]

#: Keys whose values are conditions on where a request goes (Envoy's permissions); the flag: HTTP only.
PERMISSIONS: Mapping[str, tuple[_Each, bool]] = {
    "destination.ip": (_destination, False),
    "destination.port": (_port, False),
    "connection.sni": (lambda value, _: {"requested_server_name": string(value)}, False),
    "hosts": (lambda value, _: {"header": header(":authority", value, ignore_case=True)}, True),
    "methods": (lambda value, _: {"header": header(":method", value)}, True),
    "paths": (lambda value, _: _path(value), True),
}


def permission(key: str, values: Values, here: Here, *, tcp: bool) -> list[Obj]:
    """One condition for each value of a key about the destination."""
    if key.startswith(_METADATA):
        return [_of_filter(key, values)]
    build, http_only = PERMISSIONS[key]
    if tcp and http_only:
        raise HttpOnly(key)
    return [build(value, here) for value in values]


def is_permission(key: str) -> bool:
    return key in PERMISSIONS or key.startswith(_METADATA)


def _of_filter(key: str, values: Values) -> Obj:
    """`experimental.envoy.filters.a.b[c]`: what a filter noted about the request; `[v]` asks a list for v."""
    name, bracket, rest = key.removeprefix("experimental.").removesuffix("]").partition("[")
    if not bracket:
        raise Unknown(f"{key!r} names nothing in brackets")
    matches: list[Obj] = []
    for value in values:
        inside = value.startswith("[") and value.endswith("]")
        match = {"string_match": string(value[1:-1] if inside else value)}
        matches.append({"list_match": {"one_of": match}} if inside else match)
    value_match = matches[0] if len(matches) == 1 else {"or_match": {"value_matchers": matches}}
    return {"metadata": {"filter": name, "path": [{"key": rest}], "value": value_match}}


def principal(key: str, values: Values, *, tcp: bool, namespace: str) -> list[Obj]:
    """The conditions of a key about the source, of which one must hold.

    Raises HttpOnly on a TCP chain, Unknown for a key that there is not.
    """
    plain: dict[str, Callable[[str], Obj]] = {
        "source.ip": lambda value: {"direct_remote_ip": _address(value)},
        "remote.ip": lambda value: {"remote_ip": _address(value)},
        "source.namespace": _namespace,
        "source.principal": lambda value: _authenticated(string(value, "spiffe://")),
        "source.serviceAccount": lambda value: _account(value, namespace),
        "source.trustDomain": _trust_domain,
    }
    if key in plain:
        return [plain[key](value) for value in values]
    if key.startswith("request.headers["):
        if tcp:
            raise HttpOnly(key)
        name = _bracketed(key, "request.headers")[0]
        return [{"header": header(name, value)} for value in values]
    return _of_token(key, values, tcp=tcp)


def _of_token(key: str, values: Values, *, tcp: bool) -> list[Obj]:
    claims = {"request.auth.audiences": ["aud"], "request.auth.presenter": ["azp"]}
    known = key == "request.auth.principal" or key in claims or key.startswith("request.auth.claims[")
    if not known:
        raise Unknown(f"there is no attribute {key!r}")
    if tcp:
        raise HttpOnly(key)
    if key == "request.auth.principal":
        return [_request_principal(value) for value in values]
    path = claims[key] if key in claims else _bracketed(key, "request.auth.claims")
    return [_metadata(path, _one_of(values))]


def any_of(kind: str, conditions: list[Obj]) -> Obj:
    """OR over conditions; `kind` is `rules` for permissions, `ids` for principals."""
    return {f"or_{kind}": {kind: conditions}}


def all_of(kind: str, conditions: list[Obj]) -> Obj:
    return {f"and_{kind}": {kind: conditions or [{"any": True}]}}


def none_of(kind: str, conditions: list[Obj]) -> Obj:
    name = "not_rule" if kind == "rules" else "not_id"
    return {name: any_of(kind, conditions)}


SOURCES: Mapping[str, str] = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "serviceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain",
    "namespaces": "source.namespace",
    "remoteIpBlocks": "remote.ip",
    "ipBlocks": "source.ip",
}
OPERATIONS: Mapping[str, str] = {
    "hosts": "hosts",
    "methods": "methods",
    "paths": "paths",
    "ports": "destination.port",
}


def negated(field: str) -> str:
    """`ipBlocks` → `notIpBlocks`."""
    return f"not{field[0].upper()}{field[1:]}"


def listed(item: Mapping[str, Any], fields: Mapping[str, str]) -> list[tuple[str, Values, Values]]:
    """(key, values, values that must not hold) of every field of a source or operation that says
    something.
    """
    found = []
    for field, key in fields.items():
        values, unwanted = item.get(field) or [], item.get(negated(field)) or []
        if values or unwanted:
            found.append((key, list(values), list(unwanted)))
    return found
