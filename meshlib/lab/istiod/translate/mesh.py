"""The mesh configuration: the ConfigMap `istio` (key `mesh`) over the defaults of one Istio minor.

Unknown fields are dropped without a word, as istiod does (istio-facts 0.2); text that is no YAML keeps
the last good configuration, which is the caller's business: here it is a problem and the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from meshlib.lab.istiod.translate.model import Proxy
from meshlib.lab.istiod.translate.world import World

#: Providers that exist without being declared (istio-facts 0.2); the lab runs none of them.
BUILT_IN = frozenset({"prometheus", "stackdriver", "envoy"})


@dataclass(frozen=True)
class MeshConfig:
    """The fields that the lab honours; the names are the mesh configuration's own in snake_case.

    unreadable: why the ConfigMap's text could not be read, empty if it could
    """

    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: str = "TEXT"
    connect_timeout: str = "10s"
    dns_refresh_rate: str = "60s"
    enable_auto_mtls: bool = True
    enable_tracing: bool = True
    outbound_policy: str = "ALLOW_ANY"
    h2_upgrade: bool = False
    normalization: str = "DEFAULT"
    protocol_detection_timeout: str = "0s"
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    mesh_mtls: Mapping[str, Any] = field(default_factory=dict)
    tls_defaults: Mapping[str, Any] = field(default_factory=dict)
    tcp_keepalive: Mapping[str, Any] | None = None
    listener_log: bool = True
    default_config: Mapping[str, Any] = None  # type: ignore[assignment]
    providers: Mapping[str, Mapping[str, Any]] = None  # type: ignore[assignment]
    default_tracing: tuple[str, ...] = ()
    default_access_logging: tuple[str, ...] = ()
    default_http_retry: Mapping[str, Any] | None = None
    export_virtual_services: tuple[str, ...] = ()
    export_services: tuple[str, ...] = ()
    export_destination_rules: tuple[str, ...] = ()
    unreadable: str = ""

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The mesh's trust domain, then its aliases."""
        return tuple(dict.fromkeys((self.trust_domain, *self.trust_domain_aliases)))


def parse(text: str) -> MeshConfig:
    """The mesh configuration in YAML `text`."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return MeshConfig(default_config={}, providers={}, unreadable=" ".join(str(error).split()))
    if not isinstance(found, dict):
        found = {}
    defaults = _map(found.get("defaultProviders"))
    access_log = str(found.get("accessLogFile") or "")
    return MeshConfig(
        access_log_file=access_log,
        access_log_format=str(found.get("accessLogFormat") or ""),
        access_log_encoding=str(found.get("accessLogEncoding") or "TEXT"),
        connect_timeout=str(found.get("connectTimeout") or "10s"),
        dns_refresh_rate=str(found.get("dnsRefreshRate") or "60s"),
        enable_auto_mtls=found.get("enableAutoMtls") is not False,
        enable_tracing=found.get("enableTracing") is not False,
        outbound_policy=str(_map(found.get("outboundTrafficPolicy")).get("mode") or "ALLOW_ANY"),
        h2_upgrade=found.get("h2UpgradePolicy") == "UPGRADE",
        normalization=str(_map(found.get("pathNormalization")).get("normalization") or "DEFAULT"),
        protocol_detection_timeout=str(found.get("protocolDetectionTimeout") or "0s"),
        trust_domain=str(found.get("trustDomain") or "cluster.local"),
        trust_domain_aliases=tuple(sorted({str(name) for name in found.get("trustDomainAliases") or []})),
        mesh_mtls=_map(found.get("meshMTLS")),
        tls_defaults=_map(found.get("tlsDefaults")),
        tcp_keepalive=found.get("tcpKeepalive"),
        listener_log=found.get("disableEnvoyListenerLog") is not True,
        default_config=_map(found.get("defaultConfig")),
        providers={
            provider["name"]: provider
            for provider in found.get("extensionProviders") or []
            if isinstance(provider, dict) and provider.get("name")
        },
        default_tracing=tuple(defaults.get("tracing") or ()),
        default_access_logging=tuple(defaults.get("accessLogging") or ()),
        default_http_retry=found.get("defaultHttpRetryPolicy"),
        export_virtual_services=tuple(found.get("defaultVirtualServiceExportTo") or ()),
        export_services=tuple(found.get("defaultServiceExportTo") or ()),
        export_destination_rules=tuple(found.get("defaultDestinationRuleExportTo") or ()),
    )


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def mesh_config(world: World) -> MeshConfig:
    """What the ConfigMap `istio` in the root namespace says; the defaults where there is none."""

    def build() -> MeshConfig:
        found = world.get("ConfigMap", world.root_namespace, "istio")
        return parse(((found or {}).get("data") or {}).get("mesh", ""))

    return world.memo("mesh", ("ConfigMap",), build)


def proxy_config(mesh: MeshConfig, proxy: Proxy) -> Mapping[str, Any]:
    """The ProxyConfig that a proxy started with; if unknown, `defaultConfig` with the pod's own keys
    over it.
    """
    if proxy.effective is not None:
        return proxy.effective
    return overlaid(mesh.default_config, proxy.config)


#: What of `proxyHeaders` an upper layer keeps of the lower one's where it says nothing itself.
_KEPT_HEADERS = ("forwardedClientCert", "requestId", "attemptCount", "server", "envoyDebugHeaders")


def overlaid(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of ProxyConfig over another: field by field, and not deeper but for two of them.

    Source: istio/istio pkg/config/mesh/mesh.go (MergeProxyConfig).
    """
    found = {**lower, **{name: value for name, value in upper.items() if value is not None}}
    if upper.get("proxyMetadata") is not None:
        found["proxyMetadata"] = {**_map(lower.get("proxyMetadata")), **_map(upper["proxyMetadata"])}
    if upper.get("proxyHeaders") is not None:
        below = _map(lower.get("proxyHeaders"))
        kept = {name: below[name] for name in _KEPT_HEADERS if name in below}
        found["proxyHeaders"] = {**kept, **_map(upper["proxyHeaders"])}
    return found
