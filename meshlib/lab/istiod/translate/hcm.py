"""The HTTP connection manager of a gateway and of both sides of a sidecar.

Source: istio-facts C3; istio/istio pilot/pkg/networking/core/listener_builder.go, gateway.go.
Istio's own filters (metadata exchange, alpn, stats) are not in stock Envoy and are left out (istio-facts
0.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import accesslog, tracing
from meshlib.lab.istiod.translate.clusters import DNS_CACHE
from meshlib.lab.istiod.translate.mesh import MeshConfig, mesh_config, proxy_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, typed
from meshlib.lab.istiod.translate.proxyheaders import FORWARD, ProxyHeaders, preserve_case, proxy_headers
from meshlib.lab.istiod.translate.world import World

Side = Literal["gateway", "inbound", "outbound"]
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def http_filter(name: str, type_name: str, **fields: Any) -> Obj:
    return {"name": name, "typed_config": typed(type_name, **fields)}


GRPC_STATS = http_filter(
    "envoy.filters.http.grpc_stats",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    emit_filter_state=True,
    stats_for_all_methods=False,
)
GRPC_WEB = http_filter("envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb")
FAULT = http_filter("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault")
CORS = http_filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors")
DYNAMIC_FORWARD_PROXY = http_filter(
    "envoy.filters.http.dynamic_forward_proxy",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
    dns_cache_config=DNS_CACHE,
)


def _router(*, child_span: bool, debug: bool) -> Obj:
    fields = {"start_child_span": True} if child_span else {}
    if not debug:
        fields["suppress_envoy_headers"] = True
    return http_filter(
        "envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", **fields
    )


def connection_manager(
    world: World,
    proxy: Proxy,
    side: Side,
    stat_prefix: str,
    *,
    rds: tuple[str, Obj] | None = None,
    route_config: Obj | None = None,
    filters: list[Obj],
    problems: list[Problem],
) -> Obj:
    """A network filter.

    rds: the route configuration's name and source; else route_config is put in
    filters: authentication and authorization, in istiod's order
    """
    mesh = mesh_config(world)
    config = proxy_config(mesh, proxy)
    headers = proxy_headers(world, proxy)
    traced = tracing.configuration(world, proxy, side, problems)
    fields: Obj = {
        "stat_prefix": stat_prefix,
        "codec_type": "AUTO",
        "use_remote_address": side == "gateway",
        **_normalization(mesh),
        **_server_name(side, headers),
        **_client_certificate(side, config, headers),
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "request_id_extension": {
            "typed_config": typed(
                "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                use_request_id_for_trace_sampling=traced.use_request_id,
            )
        },
    }
    if minor(proxy.minor).proxies_100_continue:
        fields["proxy_100_continue"] = True
    if not headers.request_id:
        fields["generate_request_id"] = False
    if headers.forwarded_port:
        fields["append_x_forwarded_port"] = True
    if headers.preserve_case:
        fields["http_protocol_options"] = preserve_case()
    if side == "gateway":
        # Without it Envoy takes nobody for internal and strips what gateways in front have set.
        hops = (config.get("gatewayTopology") or {}).get("numTrustedProxies") or 0
        if hops:
            fields["xff_num_trusted_hops"] = hops
    if traced.tracing is not None:
        fields["tracing"] = traced.tracing
    if logs := accesslog.http(world, proxy, side, problems):
        fields["access_log"] = logs
    if rds is not None:
        fields["rds"] = {"route_config_name": rds[0], "config_source": rds[1]}
    else:
        fields["route_config"] = route_config
    fields["http_filters"] = [
        *filters,
        GRPC_STATS,
        FAULT,
        CORS,
        # From a sidecar, requests may go to hosts that only they name.
        *([DYNAMIC_FORWARD_PROXY] if side == "outbound" else []),
        _router(child_span=traced.child_span, debug=headers.debug),
    ]
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed(_HCM, **fields)}


def _normalization(mesh: MeshConfig) -> Obj:
    mode = mesh.normalization
    return {
        "normalize_path": mode != "NONE",
        "merge_slashes": mode in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"),
        "path_with_escaped_slashes_action": (
            "UNESCAPE_AND_FORWARD" if mode == "DECODE_AND_MERGE_SLASHES" else "KEEP_UNCHANGED"
        ),
    }


def _server_name(side: Side, headers: ProxyHeaders) -> Obj:
    """A client's sidecar keeps Envoy's own name, unless one is given; the others say `istio-envoy`."""
    if headers.server is None:
        return {"server_header_transformation": "PASS_THROUGH"}
    return {} if side == "outbound" and not headers.named else {"server_name": headers.server}


def _client_certificate(side: Side, config: Mapping[str, Any], headers: ProxyHeaders) -> Obj:
    if side == "outbound":
        return {}
    if side == "inbound":
        return {
            "forward_client_cert_details": headers.forwarded_cert,
            "set_current_client_cert_details": dict(headers.current_cert),
        }
    wanted = (config.get("gatewayTopology") or {}).get("forwardClientCertDetails", "UNDEFINED")
    details = wanted if wanted in FORWARD else "SANITIZE_SET"
    found: Obj = {"forward_client_cert_details": details}
    if details in ("APPEND_FORWARD", "SANITIZE_SET"):
        found["set_current_client_cert_details"] = {"subject": True, "uri": True, "dns": True, "cert": True}
    return found
