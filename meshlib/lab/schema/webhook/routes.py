"""One route of a VirtualService: matches, destinations, and what else happens to a request."""

from __future__ import annotations

import http as http_names

from meshlib.lab.schema.durations import duration_ns
from meshlib.lab.schema.model import Obj

from . import common
from .common import quoted
from .judgement import Judgement

_CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")
RETRY_ON = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)  # in the order of their numbers
MAX_BODY_B, LARGE_BODY_B = 1024 * 1024, 100 * 1024


def http_route(found: Judgement, route: Obj, *, delegate: bool) -> None:
    _conflicts(found, route, delegate=delegate)
    _matches(found, route.get("match") or [])
    common.header_operations(found, route.get("headers"))
    _cors(found, route.get("corsPolicy"))
    _fault(found, route.get("fault"))
    _mirrors(found, route)
    _redirect(found, route.get("redirect"), route.get("match") or [])
    _direct_response(found, route.get("directResponse"))
    _retries(found, route.get("retries"))
    found.add(_rewrite(route.get("rewrite")), _authority(route))
    destinations(found, route.get("route") or [])
    found.add(common.duration(route.get("timeout")))


def _conflicts(found: Judgement, route: Obj, *, delegate: bool) -> None:
    redirect, direct = route.get("redirect"), route.get("directResponse")
    if route.get("delegate") is not None and not delegate:
        for field in ("redirect", "route"):
            if route.get(field) is not None:
                found.add(f"root HTTP route {route.get('name', '')} must not specify {field}")
        return
    if route.get("delegate") is not None:
        found.add("delegate HTTP route cannot contain delegate")
    answers = {"redirect": redirect, "direct_response": direct}
    chosen = next((name for name, value in answers.items() if value is not None), None)
    if chosen is None:
        if not route.get("route"):
            found.add("HTTP route, redirect or direct_response is required")
    else:
        if route.get("route"):
            found.add(f"HTTP route cannot contain both route and {chosen}")
        if route.get("fault") is not None:
            found.add(f"HTTP route cannot contain both fault and {chosen}")
        if route.get("rewrite") is not None:
            found.add(f"HTTP route rule cannot contain both rewrite and {chosen}")
        if redirect is not None and direct is not None:
            found.add("HTTP route rule cannot contain both direct_response and redirect")
    if route.get("mirror") is not None and route.get("mirrors"):
        found.add("HTTP route cannot contain both mirror and mirrors")


def _matches(found: Judgement, matches: list[Obj]) -> None:
    for match in matches:
        for name, value in (match.get("headers") or {}).items():
            found.add(common.header_name(name), common.string_match(value, "headers"))
        for name, value in (match.get("withoutHeaders") or {}).items():
            found.add(common.header_name(name))
            if value.get("regex") != "*":
                found.add(common.string_match(value, "withoutHeaders"))
        found.add(common.string_match(match.get("uri"), "uri", empty_prefix=True))
        for field in ("scheme", "method", "authority"):
            found.add(common.string_match(match.get(field), field))
        for value in (match.get("queryParams") or {}).values():
            found.add(common.string_match(value, "queryParams"))
    for match in matches:
        if match.get("port"):
            found.add(common.port(match["port"]))
        common.labels(found, match.get("sourceLabels"))
        gateway_names(found, match.get("gateways") or [])
        namespace = match.get("sourceNamespace")
        if namespace and not common.is_label(namespace):
            found.add(f"sourceNamespace match {namespace} is invalid")


def gateway_names(found: Judgement, names: list[str]) -> None:
    for name in names:
        namespace, slash, short = name.partition("/")
        if not slash:
            if "." in name:
                parts = name.split(".")
                better = quoted(f"{parts[1]}/{parts[0]}")
                found.warn(
                    f"using legacy gatewayName format {quoted(name)}; "
                    f"prefer the <namespace>/<name> format: {better}"
                )
            found.add(common.fqdn(name))
            return
        if not namespace or not short:
            found.add("config namespace and gateway name cannot be empty")
        if not common.is_label(namespace):
            found.add(f"invalid value for namespace: {quoted(namespace)}")
        if not common.is_label(short):
            found.add(f"invalid value for gateway name: {quoted(short)}")


def destinations(found: Judgement, weighted: list[Obj]) -> None:
    for each in weighted:
        if each.get("destination") is None:
            found.add_listed("destination is required")
        common.header_operations(found, each.get("headers"))
        _destination(found, each.get("destination"))
        if each.get("weight", 0) < 0:
            found.add(f"weight {each['weight']} < 0")
    if len(weighted) > 1 and sum(each.get("weight", 0) for each in weighted) == 0:
        found.add("total destination weight = 0")


def _destination(found: Judgement, destination: Obj | None) -> None:
    if destination is None:
        return
    host = destination.get("host", "")
    found.add(f"invalid destination host {host}" if host == "*" else common.wildcard_domain(host))
    if destination.get("subset"):
        found.add(subset_name(destination["subset"]))
    if destination.get("port") is not None:
        found.add(common.port(destination["port"].get("number", 0)))


def subset_name(name: str) -> str | None:
    if not name:
        return "subset name cannot be empty"
    return None if common.is_label(name) else f"subset name is invalid: {name}"


def _cors(found: Judgement, policy: Obj | None) -> None:
    if policy is None:
        return
    for origin in policy.get("allowOrigins") or ():
        if not any(origin.get(kind) for kind in ("exact", "prefix", "regex")):
            found.add("'' is not a valid match type for CORS allow origins")
        elif origin.get("regex"):
            found.add(common.string_match(origin, "corsPolicy.allowOrigins"))
    for method in policy.get("allowMethods") or ():
        if method not in _CORS_METHODS:
            found.add(f"{quoted(method)} is not a supported HTTP method")
    for name in [*(policy.get("allowHeaders") or ()), *(policy.get("exposeHeaders") or ())]:
        found.add(common.cors_header_name(name))
    age = policy.get("maxAge")
    found.add(common.duration(age))
    age_ns = duration_ns(age) if age is not None else None
    if age_ns is not None and age_ns % 10**9:
        found.add_listed("max_age duration is accurate only to seconds precision")


def _fault(found: Judgement, fault: Obj | None) -> None:
    if fault is None:
        return
    abort, delay = fault.get("abort"), fault.get("delay")
    if abort is None and delay is None:
        found.add_listed("HTTP fault injection must have an abort and/or a delay")
    if abort is not None:
        found.add(_percentage(abort.get("percentage")))
        if "grpcStatus" in abort:
            status = abort["grpcStatus"]
            if status not in GRPC_STATUSES:
                found.add(
                    f"gRPC status {quoted(status)} is not supported. See "
                    "https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported "
                    "codes, for example 'NOT_FOUND'"
                )
        elif "http2Error" in abort:
            found.add("HTTP/2 abort fault injection not supported yet")
        elif "httpStatus" in abort:
            found.add(_status(abort["httpStatus"]))
        else:
            found.warn("abort configured, but error type not set")
    if delay is not None:
        found.add(_percentage(delay.get("percentage")), common.duration(delay.get("fixedDelay")))
        if "exponentialDelay" in delay:
            found.add(common.duration(delay["exponentialDelay"]))
            found.add_listed("exponentialDelay not supported yet")


def _percentage(percentage: Obj | None) -> str | None:
    value = (percentage or {}).get("value", 0)
    if value < 0 or value > 100 or 0 < value < 0.0001:
        return f"percentage {value:g} is neither 0.0, nor in range [0.0001, 100.0]"
    return None


def _status(status: int) -> str | None:
    return None if 200 <= status <= 600 else f"HTTP status {status} is not in range 200-599"


def _mirrors(found: Judgement, route: Obj) -> None:
    if route.get("mirrorPercent") is not None:
        if route["mirrorPercent"] > 100:
            found.add(f"mirror_percent must have a max value of 100 (it has {route['mirrorPercent']})")
        found.warn('using deprecated setting "mirrorPercent", use "mirrorPercentage" instead')
    _mirror_percentage(found, "mirror_percentage", route.get("mirrorPercentage"))
    _destination(found, route.get("mirror"))
    for mirror in route.get("mirrors") or ():
        if mirror.get("destination") is None:
            found.add("destination is required for mirrors")
            continue
        _destination(found, mirror["destination"])
        _mirror_percentage(found, "mirror percentage", mirror.get("percentage"))


def _mirror_percentage(found: Judgement, name: str, percentage: Obj | None) -> None:
    value = (percentage or {}).get("value", 0)
    if value > 100:
        found.add(f"{name} must have a max value of 100 (it has {value:f})")
    if value < 0:
        found.add(f"{name} must have a min value of 0 (it has {value:f})")


def _redirect(found: Judgement, redirect: Obj | None, matches: list[Obj]) -> None:
    if redirect is None:
        return
    uri, prefix, code = redirect.get("uri"), redirect.get("prefixRewrite"), redirect.get("redirectCode", 0)
    port = "port" in redirect or "derivePort" in redirect
    if uri and prefix:
        found.add("redirect may only specify one of uri or prefix_rewrite")
    elif prefix and any(match.get("uri") and "prefix" not in match["uri"] for match in matches):
        found.add("redirect prefix_rewrite requires all URI matches to use prefix match type")
    elif not (uri or prefix or port or redirect.get("authority") or redirect.get("scheme")):
        found.add("redirect must specify URI, authority, scheme, or port")
    elif code and not 300 <= code <= 399:
        found.add(f"{code} is not a valid redirect code, must be 3xx")
    elif redirect.get("scheme") not in (None, "", "http", "https"):
        found.add('invalid redirect scheme, must be "http" or "https"')
    elif redirect.get("port"):
        found.add(common.port(redirect["port"]))


def _direct_response(found: Judgement, response: Obj | None) -> None:
    if response is None:
        return
    body = response.get("body") or {}
    size = len((body.get("string") or "").encode()) or len(body.get("bytes") or "") * 3 // 4
    if size > MAX_BODY_B:
        found.add("large direct_responses may impact control plane performance, must be less than 1MB")
    elif size > LARGE_BODY_B:
        found.warn("large direct_responses may impact control plane performance")
    found.add(_status(response.get("status", 0)))


def _retries(found: Judgement, retries: Obj | None) -> None:
    if retries is None:
        return
    attempts = retries.get("attempts", 0)
    if attempts < 0:
        found.add_listed("attempts cannot be negative")
    others = ("perTryTimeout", "retryOn", "retryRemoteLocalities")
    if attempts == 0 and any(retries.get(field) not in (None, "") for field in others):
        found.add("http retry policy configured when attempts are set to 0 (disabled)")
    found.add(common.duration(retries.get("perTryTimeout")))
    for policy in (retries.get("retryOn") or "").split(",") if retries.get("retryOn") else ():
        status = policy.isdigit() and int(policy) in {each.value for each in http_names.HTTPStatus}
        if not status and policy not in RETRY_ON:
            found.add(f"{quoted(policy)} is not a valid retryOn policy")
    found.add(common.duration(retries.get("backoff")))


def _rewrite(rewrite: Obj | None) -> str | None:
    if rewrite is None:
        return None
    expression = rewrite.get("uriRegexRewrite")
    if rewrite.get("uri") and expression is not None:
        return "rewrite may only contain one of URI or UriRegexRewrite"
    if not rewrite.get("uri") and expression is None and not rewrite.get("authority"):
        return (
            "rewrite must specify at least one of URI, UriRegexRewrite, or authority. "
            "Only one of URI or UriRegexRewrite may be specified"
        )
    if expression is None:
        return None
    if not expression.get("match") or not expression.get("rewrite"):
        error: str | None = "UriRegexRewrite requires both Rewrite and Match fields to be specified"
    else:
        error = common.regex(expression["match"], "HTTPRewrite.UriRegexRewrite.Match")
    return f"UriRegexRewrite has errors\n{error}" if error else None


def _authority(route: Obj) -> str | None:
    current = (route.get("rewrite") or {}).get("authority") or ""
    request = (route.get("headers") or {}).get("request") or {}
    for name, value in [*(request.get("set") or {}).items(), *(request.get("add") or {}).items()]:
        if name.lower() not in (":authority", "host"):
            continue
        if current:
            return (
                f"authority header cannot be set multiple times: have {quoted(current)}, "
                f"attempting to set {quoted(value)}"
            )
        current = value
    return None
