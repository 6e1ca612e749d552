"""The condition of a route: an HTTPMatchRequest as an Envoy `RouteMatch`.

Source: istio/istio pilot/pkg/networking/core/route/route.go (TranslateRouteMatch); istio-facts D.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.translate.model import Obj

JWT = "envoy.filters.http.jwt_authn"
_CLAIMS = "@request.auth.claims"


def string_match(match: Mapping[str, Any]) -> Obj:
    """A StringMatch as Envoy's StringMatcher."""
    if "exact" in match:
        return {"exact": match["exact"]}
    if "prefix" in match:
        return {"prefix": match["prefix"]}
    return {"safe_regex": {"regex": match["regex"]}}


def is_presence(match: Mapping[str, Any] | None) -> bool:
    """Whether a match only asks that the thing be there: empty, or the regex `*`, which is no regex."""
    return not match or match.get("regex") == "*" or not any(k in match for k in ("exact", "prefix", "regex"))


def header_match(name: str, match: Mapping[str, Any] | None) -> Obj:
    if match is None or is_presence(match):
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(match)}


def claim_path(name: str) -> list[str] | None:
    """`@request.auth.claims.a.b` or `@request.auth.claims[a][b]` → [a, b]; None for any other header
    name.
    """
    if not name.lower().startswith(_CLAIMS):
        return None
    rest = name[len(_CLAIMS) :]
    if rest.startswith("."):
        return rest[1:].split(".")
    if rest.startswith("["):
        return re.findall(r"\[([^\]]*)\]", rest)
    return None


def claim_match(path: list[str], match: Mapping[str, Any], *, invert: bool = False) -> Obj:
    """A match on a claim of the token that `jwt_authn` accepted: a string, or a list that holds it."""
    value = {"string_match": string_match(match)}
    either = {"or_match": {"value_matchers": [value, {"list_match": {"one_of": value}}]}}
    found: Obj = {
        "filter": JWT,
        "path": [{"key": "payload"}, *({"key": key} for key in path)],
        "value": either,
    }
    if invert:
        found["invert"] = True
    return found


def route_match(match: Mapping[str, Any] | None) -> Obj:
    """The whole condition; without one, every path."""
    if match is None:
        return {"prefix": "/"}
    found: Obj = {**_path(match.get("uri")), "case_sensitive": not match.get("ignoreUriCase", False)}
    headers: list[Obj] = []
    metadata: list[Obj] = []
    for name, wanted in (match.get("headers") or {}).items():
        if (path := claim_path(name)) is not None:
            metadata.append(claim_match(path, wanted))
        else:
            headers.append(header_match(name, wanted))
    for name, unwanted in (match.get("withoutHeaders") or {}).items():
        if (path := claim_path(name)) is not None:
            metadata.append(claim_match(path, unwanted, invert=True))
        else:
            condition = {**header_match(name, unwanted), "invert_match": True}
            if not is_presence(unwanted):
                condition["treat_missing_header_as_empty"] = True
            headers.append(condition)
    headers.sort(key=lambda item: str(item["name"]))
    for name, field in ((":method", "method"), (":authority", "authority"), (":scheme", "scheme")):
        if match.get(field) is not None:
            headers.append(header_match(name, match[field]))
    query = [
        {"name": name, "present_match": True}
        if is_presence(wanted)
        else {"name": name, "string_match": string_match(wanted)}
        for name, wanted in sorted((match.get("queryParams") or {}).items())
    ]
    for name, items in (("headers", headers), ("query_parameters", query), ("dynamic_metadata", metadata)):
        if items:
            found[name] = items
    return found


def _path(uri: Mapping[str, Any] | None) -> Obj:
    if not uri:
        return {"prefix": "/"}
    if "exact" in uri:
        return {"path": uri["exact"]}
    if "prefix" in uri:
        return {"prefix": uri["prefix"]}
    return {"safe_regex": {"regex": uri["regex"]}}


def is_catch_all(match: Obj) -> bool:
    """Whether a route's condition lets everything through, which ends a list of routes."""
    everything = match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*"
    return everything and not any(match.get(n) for n in ("headers", "query_parameters", "dynamic_metadata"))
