"""What a route does besides forwarding: redirect, answer, retry, inject faults, CORS, change headers.

Source: istio/istio pilot/pkg/networking/core/route/route.go, retry/retry.go; istio-facts C2, D.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.minors import Minor
from meshlib.lab.istiod.translate.durations import proto, seconds
from meshlib.lab.istiod.translate.matching import string_match
from meshlib.lab.istiod.translate.model import Obj, present, typed
from meshlib.lab.schema.webhook.routes import GRPC_STATUSES

_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_STATUSES = frozenset(status.value for status in http.HTTPStatus)


def redirect(settings: Mapping[str, Any], port: int, *, tls: bool) -> Obj:
    """A redirect; `port` is that of the server that the request came to."""
    target = settings.get("port") or 0
    if settings.get("derivePort") == "FROM_REQUEST_PORT":
        target = port
    scheme = settings.get("scheme") or ("https" if tls else "http")
    if (target, scheme) in ((80, "http"), (443, "https")):
        target = 0
    return present(
        host_redirect=settings.get("authority") or None,
        path_redirect=settings.get("uri") or None if not settings.get("prefixRewrite") else None,
        prefix_rewrite=settings.get("prefixRewrite") or None,
        scheme_redirect=settings.get("scheme") or None,
        port_redirect=target or None,
        response_code=_CODES[settings.get("redirectCode") or 301],
    )


def direct_response(settings: Mapping[str, Any]) -> Obj:
    body = settings.get("body") or {}
    found = None
    if "string" in body:
        found = {"inline_string": body["string"]}
    elif "bytes" in body:
        found = {"inline_bytes": body["bytes"]}
    return present(status=settings["status"], body=found)


def retry_policy(settings: Mapping[str, Any] | None, row: Minor, *, consistent_hash: bool) -> Obj | None:
    """The retry policy; None where retries are switched off (`attempts: 0`)."""
    found: Obj = {
        "retry_on": RETRY_ON,
        "num_retries": 2,
        "host_selection_retry_max_attempts": "5",
    }
    if row.retry_503:
        found["retriable_status_codes"] = [503]
    if not (consistent_hash and row.hash_keeps_hosts):
        found["retry_host_predicate"] = _PREVIOUS_HOSTS
    if settings is None:
        return found
    if (settings.get("attempts") or 0) <= 0:
        return None
    found["num_retries"] = settings["attempts"]
    if settings.get("retryOn"):
        found |= _retry_on(settings["retryOn"], found)
    if settings.get("perTryTimeout"):
        found["per_try_timeout"] = proto(settings["perTryTimeout"])
    if settings.get("retryIgnorePreviousHosts") is not None:
        found.pop("retry_host_predicate", None)
        if settings["retryIgnorePreviousHosts"]:
            found["retry_host_predicate"] = _PREVIOUS_HOSTS
    if settings.get("retryRemoteLocalities"):
        found["retry_priority"] = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": typed(
                "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                update_frequency=2,
            ),
        }
    if settings.get("backoff"):
        found["retry_back_off"] = {"base_interval": proto(settings["backoff"])}
    return found


_PREVIOUS_HOSTS = [
    {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
    }
]


def _retry_on(text: str, found: Obj) -> Obj:
    """Numbers in `retryOn` are status codes, which need a condition of their own."""
    words, codes = [], []
    for part in (part.strip() for part in text.split(",")):
        if part.isdigit() and int(part) in _STATUSES:
            codes.append(int(part))
        elif part:
            words.append(part)
    if codes and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    found.pop("retriable_status_codes", None)
    return present(retry_on=",".join(words), retriable_status_codes=codes or None)


def percentage(value: float) -> Obj:
    """A percentage as Envoy's fraction, exact to a ten-thousandth."""
    return {"numerator": round(value * 10000), "denominator": "MILLION"}


def percent_of_mirror(rule: Mapping[str, Any]) -> Obj | None:
    """How many requests are mirrored; all by default, None where none are."""
    if rule.get("mirrorPercentage") is not None:
        value = rule["mirrorPercentage"].get("value", 0)
        return percentage(value) if value > 0 else None
    value = rule.get("mirrorPercent", rule.get("mirror_percent"))
    if value is not None:
        return {"numerator": value, "denominator": "HUNDRED"} if value > 0 else None
    return {"numerator": 100, "denominator": "HUNDRED"}


def fault(settings: Mapping[str, Any]) -> Obj | None:
    """Injected delays and aborts.  An abort without percentage never happens; nor does such a delay."""
    found: Obj = {}
    if delay := settings.get("delay"):
        percent = {"numerator": delay.get("percent", 0), "denominator": "HUNDRED"}
        if delay.get("percentage") is not None:
            percent = percentage(delay["percentage"].get("value", 0))
        if delay.get("fixedDelay"):
            found["delay"] = {"fixed_delay": proto(delay["fixedDelay"]), "percentage": percent}
    if abort := settings.get("abort"):
        error: Obj = {}
        if abort.get("httpStatus") is not None:
            error["http_status"] = abort["httpStatus"]
        elif abort.get("grpcStatus"):
            error["grpc_status"] = GRPC_STATUSES.index(abort["grpcStatus"])
        if error and abort.get("percentage") is not None:
            error["percentage"] = percentage(abort["percentage"].get("value", 0))
        if error:
            found["abort"] = error
    return typed("envoy.extensions.filters.http.fault.v3.HTTPFault", **found) if found else None


def cors(settings: Mapping[str, Any]) -> Obj:
    origins = [string_match(match) for match in settings.get("allowOrigins") or []]
    if not origins:
        origins = [{"exact": origin} for origin in settings.get("allowOrigin") or []]
    age = settings.get("maxAge")
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins or None,
        allow_methods=",".join(settings.get("allowMethods") or []) or None,
        allow_headers=",".join(settings.get("allowHeaders") or []) or None,
        expose_headers=",".join(settings.get("exposeHeaders") or []) or None,
        max_age=str(int(seconds(age))) if age is not None else None,
        allow_credentials=settings.get("allowCredentials"),
        filter_enabled={"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        forward_not_matching_preflights=settings.get("unmatchedPreflights") != "IGNORE",
    )


def _values(headers: Mapping[str, str] | None, action: str) -> list[Obj]:
    return [
        {"header": {"key": key, "value": value}, "append_action": action}
        for key, value in sorted((headers or {}).items())
        if not _internal(key)
    ]


def _internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _authority(headers: Mapping[str, str] | None) -> str:
    return next((v for k, v in (headers or {}).items() if k.lower() in (":authority", "host")), "")


def header_operations(headers: Mapping[str, Any]) -> Obj:
    """The header changes of a route or destination, in Envoy's fields, and `authority` where one is set."""
    found: Obj = {}
    for side in ("request", "response"):
        changes = headers.get(side) or {}
        added = _values(changes.get("set"), "OVERWRITE_IF_EXISTS_OR_ADD")
        added += _values(changes.get("add"), "APPEND_IF_EXISTS_OR_ADD")
        removed = [name for name in changes.get("remove") or [] if not _internal(name)]
        if added:
            found[f"{side}_headers_to_add"] = added
        if removed:
            found[f"{side}_headers_to_remove"] = removed
    request = headers.get("request") or {}
    if authority := _authority(request.get("set")) or _authority(request.get("add")):
        found["authority"] = authority
    return found
