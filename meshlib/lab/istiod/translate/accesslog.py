"""Access logs: the mesh's file, or what Telemetry objects say.

Source: istio-facts C9; istio/istio pilot/pkg/model/telemetry_logging.go,
pilot/pkg/networking/core/accesslog.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.translate import telemetry
from meshlib.lab.istiod.translate.mesh import MeshConfig, mesh_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, present, typed
from meshlib.lab.istiod.translate.telemetry import Side
from meshlib.lab.istiod.translate.world import World

STDOUT = "/dev/stdout"
#: Name → operator of every item, in the order of the text format.
_ITEMS: dict[str, str] = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
#: The text format puts these items in quotes; the first three of a request share one pair.
_QUOTED = (
    "upstream_transport_failure_reason",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
)


def _text() -> str:
    words = []
    for name, operator in _ITEMS.items():
        before, after = ("[", "]") if name == "start_time" else ('"', '"') if name in _QUOTED else ("", "")
        before = '"' if name == "method" else before
        after = '"' if name == "protocol" else after
        words.append(f"{before}{operator}{after}")
    return " ".join(words) + "\n"


TEXT = _text()


def http(world: World, proxy: Proxy, side: Side, problems: list[Problem]) -> list[Obj]:
    """The logs of requests and TCP connections on one side of a proxy."""
    return _logs(world, proxy, side, problems, [])


def listener(world: World, proxy: Proxy, side: Side, problems: list[Problem]) -> list[Obj]:
    """The logs of connections that found no filter chain."""
    if not mesh_config(world).listener_log:
        return []
    return _logs(world, proxy, side, problems, [{"response_flag_filter": {"flags": ["NR"]}}])


def _logs(world: World, proxy: Proxy, side: Side, problems: list[Problem], filters: list[Obj]) -> list[Obj]:
    mesh = mesh_config(world)
    chosen = _providers(world, proxy, side)
    known = any(item[0] is not None or name.lower() == "envoy" for name, item in chosen.items())
    if not known and mesh.access_log_file:
        # Even where a rule without providers switches logs off: it names none to switch off.
        log = _file(mesh.access_log_file, _mesh_format(mesh))
        return [_filtered(log, filters)]
    found = []
    for name in sorted(chosen):
        settings, expression, disabled = chosen[name]
        if disabled:
            continue
        built = _provider(world, mesh, name, settings, problems)
        if built is not None:
            more = [*filters, _expression(expression)] if expression else filters
            found.append(_filtered(built, more))
    return found


def _filtered(log: Obj, filters: list[Obj]) -> Obj:
    if not filters:
        return log
    return {**log, "filter": filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}}


def _expression(text: str) -> Obj:
    config = typed("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=text)
    return {
        "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}
    }


def _providers(
    world: World, proxy: Proxy, side: Side
) -> dict[str, tuple[Mapping[str, Any] | None, str, bool]]:
    """Of each provider that is named its settings, its filter and whether it is switched off."""
    mesh = mesh_config(world)
    levels = [
        rules
        for obj in telemetry.applicable(world, proxy)
        if (rules := obj.get("spec", {}).get("accessLogging") or [])
    ]
    defaults = list(mesh.default_access_logging)
    if not levels:
        return {name: (telemetry.provider(world, name), "", False) for name in defaults}
    scope: list[str] = defaults
    expressions: dict[str, str] = {}
    for rules in levels:
        named: list[str] = []
        for rule in rules:
            if _applies(rule, side):
                for name in telemetry.provider_names(rule):
                    named.append(name)
                    expressions[name] = (rule.get("filter") or {}).get("expression", "")
        scope = named or scope
    found: dict[str, tuple[Mapping[str, Any] | None, str, bool]] = {}
    inherited = defaults
    for rules in levels:
        for rule in rules:
            inherited = telemetry.provider_names(rule) or inherited
            for name in inherited:
                if name not in scope or not _applies(rule, side):
                    continue
                off = bool(rule.get("disabled"))
                found[name] = (telemetry.provider(world, name), expressions.get(name, ""), off)
    return found


def _applies(rule: Mapping[str, Any], side: Side) -> bool:
    mode = (rule.get("match") or {}).get("mode", "CLIENT_AND_SERVER")
    return mode in ("CLIENT_AND_SERVER", telemetry.mode_of(side))


def _provider(
    world: World, mesh: MeshConfig, name: str, settings: Mapping[str, Any] | None, problems: list[Problem]
) -> Obj | None:
    if settings is None and name.lower() == "envoy":
        return _file(STDOUT, _mesh_format(mesh))
    where = f"access log provider {name}"
    if settings is None:
        problems.append(Problem(where, "the mesh configuration has no extension provider of this name"))
        return None
    if isinstance(file := settings.get("envoyFileAccessLog"), Mapping):
        formats = file.get("logFormat") or {}
        if "labels" in formats:
            chosen: Obj = _json(formats["labels"] or _ITEMS)
        else:
            chosen = _plain(formats.get("text") or "")
        return _file(file.get("path") or STDOUT, chosen)
    if isinstance(remote := settings.get("envoyOtelAls"), Mapping):
        found = telemetry.cluster_of(world, remote)
        if found is not None:
            return _opentelemetry(remote, *found)
        problems.append(Problem(where, f"there is no service {remote.get('service')!r}"))
        return None
    kinds = ", ".join(sorted(set(settings) - {"name"}))
    problems.append(
        Problem(where, f"the embedded lab logs to envoyFileAccessLog and envoyOtelAls, not to {kinds}")
    )
    return None


def _opentelemetry(settings: Mapping[str, Any], hostname: str, cluster: str) -> Obj:
    formats = settings.get("logFormat") or {}
    labels = formats.get("labels") or {}
    config = typed(
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        common_config={
            "log_name": settings.get("logName") or "otel_envoy_accesslog",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster, "authority": hostname}},
            "transport_api_version": "V3",
        },
        disable_builtin_labels=True,
        body={"string_value": formats.get("text") or TEXT},
        attributes=(
            {"values": [{"key": key, "value": {"string_value": str(labels[key])}} for key in sorted(labels)]}
            if labels
            else None
        ),
    )
    return {"name": "envoy.access_loggers.open_telemetry", "typed_config": config}


def _mesh_format(mesh: MeshConfig) -> Obj:
    if mesh.access_log_encoding != "JSON":
        return _plain(mesh.access_log_format)
    try:
        wanted = json.loads(mesh.access_log_format) if mesh.access_log_format else _ITEMS
    except ValueError:
        # istiod keeps its default for a format that is no JSON object.
        wanted = _ITEMS
    return _json(wanted if isinstance(wanted, dict) else _ITEMS)


def _plain(text: str) -> Obj:
    text = text or TEXT
    if not text.endswith("\n"):
        text += "\n"
    return present(text_format_source={"inline_string": text}, formatters=_formatters(text))


def _json(items: Mapping[str, Any]) -> Obj:
    return present(json_format=dict(items), formatters=_formatters(json.dumps(items)))


def _formatters(text: str) -> list[Obj] | None:
    if "%REQ_WITHOUT_QUERY" not in text:
        return None
    config = typed("envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery")
    return [{"name": "envoy.formatter.req_without_query", "typed_config": config}]


def _file(path: str, log_format: Obj) -> Obj:
    config = typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", path=path, log_format=log_format)
    return {"name": "envoy.access_loggers.file", "typed_config": config}
