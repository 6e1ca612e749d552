"""Details of the translation that were read off what istiod 1.29 gives for the same objects."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.lab.istiod.translate import Paths, Resources, proxies, translate
from meshlib.lab.istiod.translate.trustdomains import aliased
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.seed import seed

Obj = dict[str, Any]
NS = "httpserver-istio"
HOST = f"gohttpserver.{NS}.svc.cluster.local"
NEW, OLD = "docker.io/istio/proxyv2:1.29.6", "docker.io/istio/proxyv2:1.19.3"


def both(*objects: Obj, image: str = NEW) -> tuple[Resources, Resources]:
    """What the gateway and the sidecar of the seed's lab get with these objects."""
    world = seed(image)
    for obj in objects:
        assert world.put(obj)
    found = {proxy.role: translate(world, proxy, Paths("/xds")) for proxy in proxies(world)}
    return found["router"], found["sidecar"]


def hosts(resources: Resources) -> dict[str, list[str]]:
    """Virtual host → domains, of a sidecar."""
    return {item["name"]: item["domains"] for item in resources.routes["http_proxy"]["virtual_hosts"]}


def manager(listener: Obj, chain: int = 0) -> Obj:
    found: Obj = listener["filter_chains"][chain]["filters"][-1]["typed_config"]
    return found


def inbound(resources: Resources) -> list[Obj]:
    """The connection managers of a sidecar's inbound side."""
    chains = resources.listeners["virtualInbound"]["filter_chains"]
    filters = [chain["filters"][-1]["typed_config"] for chain in chains]
    return [config for config in filters if "route_config" in config]


def names(cluster: Obj) -> list[str]:
    """The identities that a client demands of a cluster's endpoints."""
    context = cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    wanted = context["combined_validation_context"]["default_validation_context"]["match_subject_alt_names"]
    return [match["exact"] for match in wanted]


def entry(host: str, resolution: str, **spec: Any) -> Obj:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return o.istio(
        "ServiceEntry", "ext", {"hosts": [host], "ports": ports, "resolution": resolution, **spec}, NS
    )


def test_identities_are_of_the_meshs_trust_domain_and_its_aliases() -> None:
    gateway, sidecar = both(o.mesh("trustDomain: new.td\ntrustDomainAliases: [old]\n"))
    who = f"ns/{NS}/sa/default"
    assert names(gateway.clusters[f"outbound|80||{HOST}"]) == [
        f"spiffe://new.td/{who}",
        f"spiffe://old/{who}",
    ]
    chain = next(c for c in sidecar.listeners["virtualInbound"]["filter_chains"] if "transport_socket" in c)
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]["combined_validation_context"]
    assert context["default_validation_context"]["match_subject_alt_names"] == [
        {"prefix": "spiffe://new.td/"},
        {"prefix": "spiffe://old/"},
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("cluster.local/ns/a/sa/b", ["new.td/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("old/ns/a/sa/b", ["new.td/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("*/ns/a/sa/b", ["*/ns/a/sa/b"]),
        ("*.td/ns/a/sa/b", ["*.td/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("other/ns/a/sa/b", ["other/ns/a/sa/b"]),
        ("*", ["*"]),
    ],
)
def test_principals_are_widened_to_the_aliases(given: str, wanted: list[str]) -> None:
    assert aliased([given], ["new.td", "old"]) == wanted


def test_a_sidecar_retries_what_was_reset_before_the_application_had_it() -> None:
    def policies(image: str, **service: Any) -> list[object]:
        _, sidecar = both(o.service("gohttpserver", NS, {"app": "gohttpserver"}, **service), image=image)
        routes = [m["route_config"]["virtual_hosts"][0]["routes"][0] for m in inbound(sidecar)]
        return [route["route"].get("retry_policy") for route in routes]

    retries = {"retry_on": "reset-before-request", "num_retries": 2}
    assert policies(NEW, ports=[("http", 80, 81)]) == [retries, retries]
    assert policies(NEW, ports=[("grpc", 80, 81)]) == [None, None]
    assert policies(OLD, ports=[("http", 80, 81)]) == [None, None]


def test_what_changed_between_the_minors() -> None:
    mirrored = {"route": [o.to("gohttpserver", 80)], "mirror": {"host": "gohttpserver"}}
    rule = o.virtual_service(
        "gohttpserver-svc", ["gohttpserver.io"], [mirrored], NS, gateways=["gohttpserver-svc"]
    )
    for image, version, quiet, absolute in ((NEW, "v1", True, True), (OLD, "v1alpha3", None, False)):
        gateway, sidecar = both(rule, image=image)
        (routes,) = gateway.routes.values()
        route = routes["virtual_hosts"][0]["routes"][0]
        path = route["metadata"]["filter_metadata"]["istio"]["config"]
        assert path == f"/apis/networking.istio.io/{version}/namespaces/{NS}/virtual-service/gohttpserver-svc"
        assert route["route"]["request_mirror_policies"][0].get("disable_shadow_host_suffix_append") is quiet
        assert (f"{HOST}." in hosts(sidecar)[f"{HOST}:80"]) is absolute
        listener = gateway.listeners["0.0.0.0_8443"]
        tags = {tag["tag"] for tag in manager(listener)["tracing"]["custom_tags"]}
        assert ("istio.cluster_id" in tags) is absolute
        assert listener["filter_chains"][0].get("transport_socket_connect_timeout") == (
            "15s" if absolute else None
        )
        assert manager(listener).get("proxy_100_continue") is quiet


def test_a_gateway_has_no_addresses_of_hosts_without_resolution() -> None:
    gateway, sidecar = both(entry("ext.example", "NONE"))
    assert gateway.clusters["outbound|80||ext.example"]["type"] == "EDS"
    assert gateway.endpoints["outbound|80||ext.example"] == {"cluster_name": "outbound|80||ext.example"}
    assert sidecar.clusters["outbound|80||ext.example"]["type"] == "STRICT_DNS"


def test_round_robin_by_dns_is_one_logical_host() -> None:
    gateway, _ = both(entry("ext.example", "DNS_ROUND_ROBIN"))
    assert gateway.clusters["outbound|80||ext.example"]["type"] == "LOGICAL_DNS"


def test_a_service_comes_before_a_service_entry_of_its_name() -> None:
    gateway, _ = both(entry(HOST, "DNS", endpoints=[{"address": "z.example"}]))
    assert gateway.clusters[f"outbound|80||{HOST}"]["type"] == "EDS"


def test_names_of_headless_services_and_of_entries_in_the_clusters_domain() -> None:
    headless = o.service("hl", NS, {"app": "x"}, [("http", 80, 80)], cluster_ip="None")
    _, sidecar = both(headless, entry("vm.other.svc.cluster.local", "DNS"))
    assert "*.hl" in hosts(sidecar)[f"hl.{NS}.svc.cluster.local:80"]
    assert {"vm.other", "vm.other.svc:80"} <= set(hosts(sidecar)["vm.other.svc.cluster.local:80"])


def test_a_virtual_service_holds_on_port_80_even_where_its_service_has_no_such_port() -> None:
    service = o.service("two", NS, {"app": "x"}, [("http-a", 81, 81), ("http-b", 82, 82)])
    rule = o.virtual_service("two", ["two"], [{"route": [o.to("two", 81)]}], NS)
    _, sidecar = both(service, rule)
    assert {f"two.{NS}.svc.cluster.local:{port}" for port in (80, 81, 82)} <= set(hosts(sidecar))


def test_the_mesh_says_to_whom_services_are_shown() -> None:
    gateway, sidecar = both(o.mesh("defaultServiceExportTo: ['.']\n"))
    assert f"outbound|80||{HOST}" not in gateway.clusters
    assert f"outbound|80||{HOST}" in sidecar.clusters


def test_tls_settings_of_the_mesh() -> None:
    suite = "ECDHE-RSA-AES128-GCM-SHA256"
    gateway, sidecar = both(
        o.mesh(
            f"meshMTLS: {{minProtocolVersion: TLSV1_3, cipherSuites: [{suite}]}}\n"
            f"tlsDefaults: {{minProtocolVersion: TLSV1_2, cipherSuites: [{suite}]}}\n"
        )
    )
    chain = next(c for c in sidecar.listeners["virtualInbound"]["filter_chains"] if "transport_socket" in c)
    inside = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_params"]
    assert (inside["tls_minimum_protocol_version"], inside["cipher_suites"]) == ("TLSv1_3", [suite])
    socket = gateway.listeners["0.0.0.0_8443"]["filter_chains"][0]["transport_socket"]
    edge = socket["typed_config"]["common_tls_context"]["tls_params"]
    assert (edge["tls_minimum_protocol_version"], edge["cipher_suites"]) == ("TLSv1_2", [suite])


def test_unknown_cipher_suites_are_dropped() -> None:
    tls = {"mode": "SIMPLE", "credentialName": "c", "cipherSuites": ["AES128-SHA", "BOGUS", "AES128-SHA"]}
    server = o.server(["a.example"], 443, "HTTPS", tls=tls)
    gateway, _ = both(o.gateway("gohttpserver-svc", [server], NS))
    socket = gateway.listeners["0.0.0.0_8443"]["filter_chains"][0]["transport_socket"]
    parameters = socket["typed_config"]["common_tls_context"]["tls_params"]
    assert parameters["cipher_suites"] == ["AES128-SHA"]


def test_connections_of_the_mesh_are_kept_alive_as_it_says() -> None:
    gateway, _ = both(o.mesh("tcpKeepalive: {time: 10s, interval: 5s}\n"))
    options = gateway.clusters[f"outbound|80||{HOST}"]["upstream_connection_options"]
    assert options == {"tcp_keepalive": {"keepalive_time": 10, "keepalive_interval": 5}}


def test_listeners_may_be_silent_where_requests_are_logged() -> None:
    gateway, _ = both(o.mesh("accessLogFile: /dev/stdout\ndisableEnvoyListenerLog: true\n"))
    listener = gateway.listeners["0.0.0.0_8443"]
    assert "access_log" not in listener
    assert manager(listener)["access_log"]


def test_a_gateway_behind_a_balancer_that_speaks_the_proxy_protocol() -> None:
    gateway, sidecar = both(o.mesh("defaultConfig: {gatewayTopology: {proxyProtocol: {}}}\n"))
    filters = [item["name"] for item in gateway.listeners["0.0.0.0_8443"]["listener_filters"]]
    assert filters == ["envoy.filters.listener.proxy_protocol", "envoy.filters.listener.tls_inspector"]
    names_of = [item["name"] for item in sidecar.listeners["virtualInbound"]["listener_filters"]]
    assert "envoy.filters.listener.proxy_protocol" not in names_of


def test_only_clients_upgrade_and_only_sidecars_follow_the_callers_protocol() -> None:
    pool = {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    rule = o.istio("DestinationRule", "up", {"host": "gohttpserver", "trafficPolicy": pool}, NS)
    named = o.service("gohttpserver", NS, {"app": "gohttpserver"}, [("http", 80, 81)])
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    def of(cluster: Obj) -> Obj:
        return dict(cluster.get("typed_extension_protocol_options", {}).get(options, {}))

    gateway, sidecar = both(rule, named)
    assert "http2_protocol_options" in of(gateway.clusters[f"outbound|80||{HOST}"])["explicit_http_config"]
    assert "explicit_http_config" not in of(sidecar.clusters["inbound|81||"])
    gateway, sidecar = both()
    assert of(gateway.clusters[f"outbound|80||{HOST}"]) == {}
    assert "use_downstream_protocol_config" in of(sidecar.clusters[f"outbound|80||{HOST}"])


@pytest.mark.parametrize(
    ("rule", "logged"),
    [
        ({"disabled": True}, True),
        ({"disabled": True, "providers": [{"name": "envoy"}]}, False),
        ({"providers": [{"name": "nobody"}]}, True),
    ],
)
def test_the_meshs_log_file_is_used_until_a_provider_is_named(rule: Obj, logged: bool) -> None:
    """A rule that only says `disabled` names no provider to switch off: the file goes on."""
    gateway, _ = both(
        o.mesh("accessLogFile: /dev/stdout\n"),
        o.istio("Telemetry", "logs", {"accessLogging": [rule]}, o.SYSTEM),
    )
    assert ("access_log" in manager(gateway.listeners["0.0.0.0_8443"])) is logged


def test_without_istios_tags_there_are_none_of_dry_runs_either() -> None:
    mesh = o.mesh(f"extensionProviders:\n- name: z\n  zipkin: {{service: {HOST}, port: 80}}\n")
    spec = {"tracing": [{"providers": [{"name": "z"}], "enableIstioTags": False}]}
    gateway, _ = both(mesh, o.istio("Telemetry", "tags", spec, o.SYSTEM))
    assert "custom_tags" not in manager(gateway.listeners["0.0.0.0_8443"])["tracing"]


def test_of_two_ports_with_one_route_configuration_the_first_decides() -> None:
    """80 is 8080 behind the Service; the VirtualService's condition on the port knows only the older."""
    servers = [o.server(["*"], 80), o.server(["*"], 8080, name="alt")]
    rules = [
        {"match": [{"port": 8080}], "redirect": {"uri": "/never"}},
        {"match": [{"port": 80}], "route": [o.to("gohttpserver", 80)]},
    ]
    gateway, _ = both(
        o.gateway("gohttpserver-svc", servers, NS),
        o.virtual_service("gohttpserver-svc", ["a.example"], rules, NS, gateways=["gohttpserver-svc"]),
    )
    (host,) = gateway.routes["http.8080"]["virtual_hosts"]
    assert ["route" in route for route in host["routes"]] == [True, True]
