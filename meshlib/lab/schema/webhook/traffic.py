"""DestinationRule: traffic policies and subsets."""

from __future__ import annotations

from math import isqrt

from meshlib.lab.schema.durations import duration_ns
from meshlib.lab.schema.model import Obj

from . import common
from .judgement import Judgement
from .routes import subset_name

_FIELDS = (
    "outlierDetection", "connectionPool", "loadBalancer", "tls", "portLevelSettings", "tunnel",
    "proxyProtocol", "retryBudget",
)  # fmt: skip
MAX_MAGLEV_TABLE = 5_000_011


def judge(found: Judgement, namespace: str, spec: Obj) -> None:
    found.add(common.wildcard_domain(spec.get("host", "")))
    _policy(found, spec.get("trafficPolicy"))
    names: set[str] = set()
    for subset in spec.get("subsets") or ():
        name = subset.get("name", "")
        if name in names:
            found.add(f"duplicate subset names: {name}")
        names.add(name)
        found.add(subset_name(name))
        common.labels(found, subset.get("labels"))
        _policy(found, subset.get("trafficPolicy"))
    chosen, exports = spec.get("workloadSelector"), spec.get("exportTo") or []
    common.export_to(found, namespace, exports)
    if chosen is not None and exports:
        reached = {namespace if each == "." else each for each in exports}
        if namespace not in reached:
            found.add("destination rule with workload selector cannot have exportTo beyond current namespace")
        elif len(reached) > 1:
            found.add("destination rule with workload selector cannot have multiple entries in exportTo")
    common.selector(found, {"selector": chosen})


def _policy(found: Judgement, policy: Obj | None) -> None:
    if policy is None:
        return
    if all(policy.get(field) is None for field in _FIELDS):
        found.add("traffic policy must have at least one field")
        return
    if policy.get("tunnel") is not None and policy.get("proxyProtocol") is not None:
        found.add("tunnel and proxyProtocol must not be set together")
        return
    _shared(found, policy)
    for level in policy.get("portLevelSettings") or ():
        if level.get("port") is None:
            found.add("portTrafficPolicy must have valid port")
        if all(level.get(field) is None for field in _FIELDS[:4]):
            found.add("port traffic policy must have at least one field")
        else:
            _shared(found, level)
    _tunnel(found, policy.get("tunnel"))


def _shared(found: Judgement, policy: Obj) -> None:
    outlier = policy.get("outlierDetection")
    _outlier(found, outlier)
    connection_pool(found, policy.get("connectionPool"))
    _load_balancer(found, policy.get("loadBalancer"), outlier)
    _client_tls(found, policy.get("tls"))


def _outlier(found: Judgement, outlier: Obj | None) -> None:
    if outlier is None:
        return
    found.add(common.duration(outlier.get("baseEjectionTime")))
    if outlier.get("consecutiveErrors"):
        found.warn(
            "outlier detection consecutive errors is deprecated, use consecutiveGatewayErrors or "
            "consecutive5xxErrors instead"
        )
    if (
        not outlier.get("splitExternalLocalOriginErrors")
        and (outlier.get("consecutiveLocalOriginFailures") or 0) > 0
    ):
        found.add(
            "outlier detection consecutive local origin failures is specified, but split external local "
            "origin errors is set to false"
        )
    found.add(common.duration(outlier.get("interval")))
    for field in ("maxEjectionPercent", "minHealthPercent"):
        value = outlier.get(field, 0)
        if not 0 <= value <= 100:
            found.add(f"percentage {value} is not in range 0..100")


def connection_pool(found: Judgement, pool: Obj | None) -> None:
    if pool is None:
        return
    http, tcp = pool.get("http"), pool.get("tcp")
    if http is None and tcp is None:
        found.add("connection pool must have at least one field")
        return
    if http is not None:
        for field, text in _NON_NEGATIVE.items():
            if http.get(field, 0) < 0:
                found.add(f"{text} must be non-negative")
        found.add(common.duration(http.get("idleTimeout")))
        if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
            found.add("use client protocol must not be true when H2UpgradePolicy is UPGRADE")
        keepalive = http.get("http2KeepAlive")
        for field in ("interval", "timeout") if keepalive is not None else ():
            value = (keepalive or {}).get(field)
            found.add(f"http2 keepalive {field} is required" if value is None else common.duration(value))
    if tcp is not None:
        if tcp.get("maxConnections", 0) < 0:
            found.add("max connections must be non-negative")
        found.add(
            common.duration(tcp.get("connectTimeout")), common.duration(tcp.get("maxConnectionDuration"))
        )
        idle = tcp.get("idleTimeout")
        if idle is not None and duration_ns(idle) != 0:
            found.add(common.duration(idle))
        for field in ("time", "interval"):
            found.add(common.duration((tcp.get("tcpKeepalive") or {}).get(field)))


_NON_NEGATIVE = {
    "http1MaxPendingRequests": "http1 max pending requests",
    "http2MaxRequests": "http2 max requests",
    "maxRequestsPerConnection": "max requests per connection",
    "maxRetries": "max retries",
    "maxConcurrentStreams": "max concurrent streams",
}


def _load_balancer(found: Judgement, balancer: Obj | None, outlier: Obj | None) -> None:
    if balancer is None:
        return
    _consistent_hash(found, balancer.get("consistentHash") or {})
    if balancer.get("localityLbSetting") is not None and balancer.get("zoneAwareLbSetting") is not None:
        found.add("only one of localityLbSetting and zoneAwareLbSetting can be set")
    _locality(found, balancer.get("localityLbSetting"), outlier)
    warmup = balancer.get("warmup")
    if warmup is not None:
        length = warmup.get("duration")
        found.add("duration is required" if length is None else common.duration(length))
        if (warmup.get("minimumPercent") or 0) > 100:
            found.add("minimumPercent value should be less than or equal to 100")
        if warmup.get("aggression") is not None and warmup["aggression"] <= 0:
            found.add("aggression should be greater than 0")


def _consistent_hash(found: Judgement, chosen: Obj) -> None:
    cookie = chosen.get("httpCookie")
    if cookie is not None:
        if not cookie.get("name"):
            found.add("name required for HttpCookie")
        names: set[str] = set()
        for attribute in cookie.get("attributes") or ():
            name = attribute.get("name")
            if not name:
                found.add("cookie attribute name cannot be empty")
            elif name in names:
                found.add(f"duplicate cookie attribute name: {name}")
            names.add(name or "")
    if chosen.get("minimumRingSize"):
        found.warn(
            "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash "
            "configuration instead"
        )
        if "ringHash" in chosen or "maglev" in chosen:
            found.add("only one of MinimumRingSize or Maglev/Ringhash can be specified")
    if chosen.get("maglev") is not None:
        size = chosen["maglev"].get("tableSize", 0)
        if size == 0:
            found.add("tableSize must be set for maglev")
        if size >= MAX_MAGLEV_TABLE:
            found.add(f"tableSize must be less than {MAX_MAGLEV_TABLE} for maglev")
        if not _prime(size):
            found.add("tableSize must be a prime number for maglev")


def _prime(number: int) -> bool:
    if number < 4 or number >= 1 << 40:
        return number in (1, 2, 3)
    return number % 2 == 1 and all(number % factor for factor in range(3, isqrt(number) + 1, 2))


def _locality(found: Judgement, setting: Obj | None, outlier: Obj | None) -> None:
    if setting is None:
        return
    spread, failover = setting.get("distribute") or [], setting.get("failover") or []
    if spread and failover:
        found.add("can not simultaneously specify 'distribute' and 'failover'")
        return
    for each in spread:
        weights = list((each.get("to") or {}).values())
        if any(not 0 < weight <= 100 for weight in weights):
            found.add("locality weight must be in range [1, 100]")
            return
        if sum(weights) != 100:
            found.add(f"total locality weight {sum(weights)} != 100")
            return
    if (failover or setting.get("failoverPriority")) and outlier is None:
        found.warn("outlier detection policy must be provided for failover")
    for each in failover:
        source, target = each.get("from", ""), each.get("to", "")
        if source == target:
            found.add("locality lb failover settings must specify different regions")
        if "/" in source + target:
            found.add("locality lb failover only specify region")
        if "*" in source + target:
            found.add("locality lb failover region should not contain '*' wildcard")


def _client_tls(found: Judgement, tls: Obj | None) -> None:
    if tls is None:
        return
    mode, credential = tls.get("mode", "DISABLE"), tls.get("credentialName")
    if tls.get("insecureSkipVerify"):
        if mode == "SIMPLE" and (
            tls.get("caCertificates") or credential or tls.get("subjectAltNames") is not None
        ):
            found.add(
                "cannot specify CaCertificates or CredentialName or SubjectAltNames when "
                "InsecureSkipVerify is set true"
            )
        if mode == "MUTUAL" and (tls.get("caCertificates") or tls.get("subjectAltNames") is not None):
            found.add("cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true")
    if mode in ("SIMPLE", "MUTUAL") and credential:
        if any(tls.get(field) for field in ("clientCertificate", "caCertificates", "privateKey", "caCrl")):
            found.add(
                "cannot specify client certificates or CA certificate or CA CRL If credentialName is set"
            )
        return
    if mode == "MUTUAL":
        if not tls.get("clientCertificate"):
            found.add("client certificate required for mutual tls")
        if not tls.get("privateKey"):
            found.add("private key required for mutual tls")


def _tunnel(found: Judgement, tunnel: Obj | None) -> None:
    if tunnel is None:
        return
    if tunnel.get("protocol") not in (None, "", "CONNECT", "POST"):
        found.add('tunnel protocol must be "CONNECT" or "POST"')
    host = tunnel.get("targetHost", "")
    name_error, ip_error = common.fqdn(host), common.ip_address(host)
    if name_error and ip_error:
        found.add(f"tunnel target host must be valid FQDN or IP address: {name_error}; {ip_error}")
    port_error = common.port(tunnel.get("targetPort", 0))
    if port_error:
        found.add(f"tunnel target port is invalid: {port_error}")
