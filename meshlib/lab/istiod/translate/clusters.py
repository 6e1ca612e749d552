"""Clusters: one for every visible service's port and subset, and the ones that always exist.

Source: istio-facts C1, C5, C6; istio/istio pilot/pkg/networking/core/cluster_builder.go,
cluster_traffic_policy.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib.lab.istiod.minors import Minor, minor
from meshlib.lab.istiod.translate import authn, destinationrules, endpoints, names, services, tls
from meshlib.lab.istiod.translate.loadbalancing import (
    apply_load_balancer,
    apply_outlier_detection,
    error_matcher,
)
from meshlib.lab.istiod.translate.mesh import MeshConfig, mesh_config
from meshlib.lab.istiod.translate.model import (
    MALFORMED,
    Obj,
    Of,
    Problem,
    Proxy,
    SecretReference,
    describe,
    typed,
)
from meshlib.lab.istiod.translate.names import Paths
from meshlib.lab.istiod.translate.pools import (
    HTTP2,
    apply_pool,
    duration,
    explicit,
    use_downstream_protocol,
)
from meshlib.lab.istiod.translate.proxyheaders import preserve_case, proxy_headers
from meshlib.lab.istiod.translate.routes import config_path
from meshlib.lab.istiod.translate.services import Port, Service
from meshlib.lab.istiod.translate.world import World

#: What shapes clusters beside the service and its accounts.
_READS = ("DestinationRule", "PeerAuthentication", "ConfigMap")
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class ClusterBuilder:
    """Builds the clusters of one proxy; `secrets` collects what their TLS needs, `problems` what was left
    out.
    """

    def __init__(self, world: World, proxy: Proxy, paths: Paths, secrets: tls.Secrets) -> None:
        self.world = world
        self.proxy = proxy
        self.paths = paths
        self.secrets = secrets
        self.mesh: MeshConfig = mesh_config(world)
        self.headers = proxy_headers(world, proxy)
        self.problems: list[Problem] = []

    def of_service(self, service: Service) -> tuple[list[Obj], list[Obj]]:
        """The clusters of a service (ports × subsets) and the assignments of those that have endpoint
        files.
        """
        rule = destinationrules.rule_for(self.world, self.proxy, service)
        try:
            return self._shaped(service, rule)
        except MALFORMED as error:
            if rule is None:
                raise
            text = f"it is left out: {type(error).__name__} {error}"
            self.problems.append(Problem(describe(rule), text))
            return self._shaped(service, None)

    def _shaped(self, service: Service, rule: Obj | None) -> tuple[list[Obj], list[Obj]]:
        kinds = [
            (port, subset)
            for port in service.ports
            if port.protocol != "UDP"
            for subset in (None, *(rule or {}).get("spec", {}).get("subsets", []))
        ]
        clusters = self._remembered(service, rule, kinds)
        assignments = [
            endpoints.assignment(self.world, cluster["name"], service, port, (subset or {}).get("labels"))
            for cluster, (port, subset) in zip(clusters, kinds, strict=True)
            if cluster.get("type") == "EDS"
        ]
        return clusters, assignments

    def _remembered(
        self, service: Service, rule: Obj | None, kinds: list[tuple[Port, Mapping[str, Any] | None]]
    ) -> list[Obj]:
        """The clusters, built anew only when something that shapes them changed; endpoints themselves do
        not.
        """

        def build() -> tuple[list[Obj], dict[str, SecretReference], list[Problem]]:
            builder = ClusterBuilder(
                self.world, self.proxy, self.paths, tls.Secrets(self.paths, self.proxy.namespace)
            )
            found = [builder._outbound(service, port, rule, subset) for port, subset in kinds]
            return found, builder.secrets.wanted, builder.problems

        shape = (service, tuple(endpoints.accounts(self.world, service)), self.proxy, self.paths)
        if service.resolution != "EDS":
            shape = (*shape, tuple(endpoints.of_service(self.world, service)))  # type: ignore[assignment]
        key = Of(self.proxy.uid, ("clusters", service.namespace, service.hostname))
        clusters, wanted, problems = self.world.memo(key, _READS, build, *shape)
        self.secrets.wanted.update(wanted)
        self.problems += problems
        return clusters

    def _outbound(
        self, service: Service, port: Port, rule: Obj | None, subset: Mapping[str, Any] | None
    ) -> Obj:
        subset_name = subset["name"] if subset else ""
        name = names.outbound(port.number, service.hostname, subset_name)
        policy = destinationrules.policy(rule, port, subset)
        pool = policy.get("connectionPool") or {}
        options = self._protocol(port, pool)
        cluster: Obj = {
            "name": name,
            **self._discovery(name, service, port, (subset or {}).get("labels")),
            "connect_timeout": duration((pool.get("tcp") or {}).get("connectTimeout"))
            or self.mesh.connect_timeout,
            "common_lb_config": {},
            "metadata": _metadata(minor(self.proxy.minor), service, rule, subset_name),
        }
        apply_pool(cluster, options, pool, policy.get("retryBudget"), self.mesh.tcp_keepalive)
        if cluster.get("lb_policy") != "CLUSTER_PROVIDED":
            apply_load_balancer(cluster, policy.get("loadBalancer") or {})
        apply_outlier_detection(cluster, policy.get("outlierDetection"))
        if codes := (policy.get("outlierDetection") or {}).get("outlierDetectionHttpErrorCodes"):
            options["outlier_detection"] = {"error_matcher": error_matcher(codes)}
            explicit(options)
        self._security(
            cluster,
            options,
            service,
            port,
            rule,
            policy,
            names.outbound_sni(port.number, service.hostname, subset_name),
        )
        if options:
            cluster["typed_extension_protocol_options"] = {HTTP_OPTIONS: typed(HTTP_OPTIONS, **options)}
        return cluster

    def _discovery(self, name: str, service: Service, port: Port, labels: Mapping[str, str] | None) -> Obj:
        # A gateway is not dialled by the addresses of hosts outside, so that it has none to pass on.
        if service.resolution == "EDS" or (service.resolution == "ANY" and self.proxy.role == "router"):
            source = self.paths.endpoints(name)
            return {"type": "EDS", "eds_cluster_config": {"eds_config": source, "service_name": name}}
        if service.hostname.startswith("*"):
            return dynamic_forward_proxy()
        chosen = [
            endpoint
            for endpoint in endpoints.of_service(self.world, service)
            if all(endpoint.labels.get(key) == value for key, value in (labels or {}).items())
        ]
        target = port.target if isinstance(port.target, int) else port.number
        items = [
            endpoints.lb_endpoint(endpoint, endpoints.port_of(endpoint, port) or target)
            for endpoint in chosen
        ]
        if not items and not service.addresses:
            items = [{"endpoint": {"address": endpoints.address(service.hostname, target)}}]
        return {
            "type": "LOGICAL_DNS" if service.round_robin else "STRICT_DNS",
            "dns_refresh_rate": self.mesh.dns_refresh_rate,
            "respect_dns_ttl": True,
            "dns_lookup_family": "V4_ONLY",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": items}]},
        }

    def _protocol(self, port: Port, pool: Mapping[str, Any], *, inbound: bool = False) -> Obj:
        """The options by which Envoy speaks to the service; empty means HTTP/1.1.

        Only clients upgrade: a sidecar speaks to its application as the port says.
        """
        http = pool.get("http") or {}
        preserved = preserve_case() if self.headers.preserve_case and port.may_be_http else {}
        sniffed = port.protocol == services.AUTO and self.proxy.role == "sidecar"
        if http.get("useClientProtocol") or (sniffed and not port.is_http2):
            return use_downstream_protocol(preserved)
        policy = http.get("h2UpgradePolicy", "DEFAULT")
        upgrade = policy == "UPGRADE" or (policy == "DEFAULT" and self.mesh.h2_upgrade and port.is_http)
        if port.is_http2 or (upgrade and not preserved and not inbound):
            return {"explicit_http_config": {"http2_protocol_options": dict(HTTP2)}}
        return {"explicit_http_config": {"http_protocol_options": preserved}} if preserved else {}

    def _security(
        self,
        cluster: Obj,
        options: Obj,
        service: Service,
        port: Port,
        rule: Obj | None,
        policy: Mapping[str, Any],
        sni: str,
    ) -> None:
        settings = policy.get("tls")
        http2 = "explicit_http_config" in options
        mode = (settings or {}).get("mode", "DISABLE") if settings is not None else None
        if mode == "DISABLE":
            return
        if mode in ("SIMPLE", "MUTUAL") and settings is not None and rule is not None:
            self._originate(cluster, options, settings, rule, service, http2)
            return
        if mode is None:
            if service.external or not self.mesh.enable_auto_mtls:
                return
            if authn.namespace_mode(self.world, service.namespace) == "DISABLE":
                return
        settings = settings or {}
        accounts = settings.get("subjectAltNames") or endpoints.accounts(self.world, service)
        socket = tls.mesh_client(
            self.secrets, settings.get("sni") or sni, accounts, http=port.may_be_http, http2=http2
        )
        if mode == "ISTIO_MUTUAL":
            cluster["transport_socket"] = socket
        elif "type" in cluster:
            cluster["transport_socket_matches"] = [
                {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket},
                {"name": "tlsMode-disabled", "match": {}, "transport_socket": raw_buffer()},
            ]

    def _originate(
        self,
        cluster: Obj,
        options: Obj,
        settings: Mapping[str, Any],
        rule: Obj,
        service: Service,
        http2: bool,
    ) -> None:
        selective = bool(rule["spec"].get("workloadSelector"))
        if settings.get("credentialName") and self.proxy.role == "sidecar" and not selective:
            text = "tls.credentialName holds only for gateways, or for sidecars that a workloadSelector names"
            self.problems.append(Problem(describe(rule), text))
            return
        if settings["mode"] == "MUTUAL" and not settings.get("credentialName"):
            missing = [name for name in ("clientCertificate", "privateKey") if not settings.get(name)]
            if missing:
                self.problems.append(
                    Problem(describe(rule), f"tls mode MUTUAL lacks {' and '.join(missing)}")
                )
                return
        own = list(service.accounts) if service.entry else []
        cluster["transport_socket"] = tls.origination(
            settings, self.secrets, http2=http2, names=own, defaults=self.mesh.tls_defaults
        )
        automatic: Obj = {}
        if not settings.get("sni"):
            automatic["auto_sni"] = True
            if not settings.get("subjectAltNames") and settings.get("insecureSkipVerify") is not True:
                automatic["auto_san_validation"] = True
        if automatic:
            options["upstream_http_protocol_options"] = automatic
            explicit(options)

    def outbound(self) -> tuple[list[Obj], list[Obj]]:
        """All clusters towards services, and their assignments."""
        clusters: list[Obj] = []
        assignments: list[Obj] = []
        for service in services.visible(self.world, self.proxy.namespace):
            more, assigned = self.of_service(service)
            clusters += more
            assignments += assigned
        return clusters, assignments

    def black_hole(self) -> Obj:
        return {
            "name": names.BLACK_HOLE,
            "type": "STATIC",
            "connect_timeout": self.mesh.connect_timeout,
        }

    def passthrough(self) -> Obj:
        """Where a sidecar sends what is no known service.

        A real sidecar has the address that the client dialled; here the client dials the proxy, so the
        name
        in
        the request is resolved instead.
        """
        return {
            "name": names.PASSTHROUGH,
            "connect_timeout": self.mesh.connect_timeout,
            **dynamic_forward_proxy(),
        }

    def inbound(self, declared: int, port: Port | None, service: Service | None) -> Obj:
        """The cluster of the application's own port, reached on the inside address."""
        name = (
            names.inbound(declared)
            if service
            else minor(self.proxy.minor).passthrough_cluster + f"_{declared}"
        )
        rule = destinationrules.rule_for(self.world, self.proxy, service) if service else None
        policy = destinationrules.policy(rule, port) if rule and port else {}
        pool = policy.get("connectionPool") or {}
        target = endpoints.address(self.proxy.inside, self.proxy.true_port(declared))
        cluster: Obj = {
            "name": name,
            "type": "STATIC",
            "connect_timeout": duration((pool.get("tcp") or {}).get("connectTimeout"))
            or self.mesh.connect_timeout,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": target}}]}],
            },
        }
        if service:
            cluster["metadata"] = _metadata(minor(self.proxy.minor), service, None, "")
        options = use_downstream_protocol({}) if port is None else self._protocol(port, pool, inbound=True)
        apply_pool(cluster, options, pool, None, self.mesh.tcp_keepalive)
        if options:
            cluster["typed_extension_protocol_options"] = {HTTP_OPTIONS: typed(HTTP_OPTIONS, **options)}
        return cluster


def raw_buffer() -> Obj:
    return {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
    }


DNS_CACHE = {"name": "dynamic_forward_proxy_cache", "dns_lookup_family": "V4_ONLY"}


def dynamic_forward_proxy() -> Obj:
    """The discovery of a cluster that resolves the host named in each request."""
    config = typed(
        "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", dns_cache_config=DNS_CACHE
    )
    return {
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": config},
    }


def _metadata(row: Minor, service: Service, rule: Obj | None, subset: str) -> Obj:
    """What istioctl reads off a cluster: its services and the DestinationRule that shaped it."""
    name = service.hostname if service.entry else service.name
    istio: Obj = {"services": [{"host": service.hostname, "name": name, "namespace": service.namespace}]}
    if service.external:
        istio["external"] = True
    if rule is not None:
        meta = rule["metadata"]
        istio["config"] = config_path(row, "destination-rule", meta["namespace"], meta["name"])
        if subset:
            istio["subset"] = subset
    return {"filter_metadata": {"istio": istio}}
