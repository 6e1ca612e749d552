"""Which headers a proxy adds, as `proxyHeaders` of its ProxyConfig says.

Source: istio/istio pilot/pkg/networking/util/proxy_headers.go, core/listener_inbound.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.istiod.translate.mesh import mesh_config, proxy_config
from meshlib.lab.istiod.translate.model import Obj, Proxy, typed
from meshlib.lab.istiod.translate.world import World

FORWARD = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")


@dataclass(frozen=True)
class ProxyHeaders:
    """server: the value of `server`, None where the application's own is kept; others: what is on.

    debug: Envoy's own response headers; forwarded_cert: what becomes of X-Forwarded-Client-Cert at a
    sidecar, current_cert its parts
    """

    server: str | None = "istio-envoy"
    named: bool = False
    attempt_count: bool = True
    request_id: bool = True
    debug: bool = True
    forwarded_host: bool = False
    forwarded_port: bool = False
    preserve_case: bool = False
    forwarded_cert: str = "APPEND_FORWARD"
    current_cert: Mapping[str, bool] = field(default_factory=dict)


def proxy_headers(world: World, proxy: Proxy) -> ProxyHeaders:
    found = _map(proxy_config(mesh_config(world), proxy).get("proxyHeaders"))
    server = _map(found.get("server"))
    forwarded = found.get("forwardedClientCert")
    value = str(server.get("value") or "")
    return ProxyHeaders(
        server=None if server.get("disabled") else value or ProxyHeaders.server,
        named=bool(value),
        attempt_count=not _map(found.get("attemptCount")).get("disabled"),
        request_id=not _map(found.get("requestId")).get("disabled"),
        debug=not _map(found.get("envoyDebugHeaders")).get("disabled"),
        forwarded_host=bool(_map(found.get("xForwardedHost")).get("enabled")),
        forwarded_port=bool(_map(found.get("xForwardedPort")).get("enabled")),
        preserve_case=bool(found.get("preserveHttp1HeaderCase")),
        forwarded_cert=str(forwarded) if forwarded in FORWARD else ProxyHeaders.forwarded_cert,
        current_cert={
            "subject": True,
            "uri": True,
            "dns": True,
            **{name: bool(on) for name, on in _map(found.get("setCurrentClientCertDetails")).items()},
        },
    )


def preserve_case() -> Obj:
    """HTTP/1.1 options that keep the letters of header names as they came."""
    config = typed("envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig")
    return {"header_key_format": {"stateful_formatter": {"name": "preserve_case", "typed_config": config}}}


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
