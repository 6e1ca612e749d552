"""proxy-status from istiod's syncz, and proxy-config from Envoy's dump."""

from meshlib import tls
from meshlib.istio import proxies, proxyconfig

LEAF = tls.leaf(tls.authority("a test CA", 9), ["shop.example"], 9)

ENTRY = {
    "proxy": "gw.istio-system",
    "cluster_id": "Kubernetes",
    "istio_version": "1.30.5",
    "istiod": "istiod-1",
    "cluster_sent": "2",
    "cluster_acked": "2",
    "listener_sent": "2",
    "listener_acked": "1",
    "endpoint_sent": "2",
}


def test_status_has_the_columns_and_words_of_istioctl() -> None:
    shown = proxies.status_table([ENTRY])
    assert list(shown.columns) == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ISTIOD", "VERSION"]
    assert shown.iloc[0].tolist() == [
        "gw.istio-system",
        "Kubernetes",
        "SYNCED",
        "STALE",
        "STALE (Never Acknowledged)",
        "NOT SENT",
        "istiod-1",
        "1.30.5",
    ]
    assert proxies.stale(ENTRY) == ["LDS", "EDS"]


DUMP = {
    "configs": [
        {
            "dynamic_listeners": [
                {
                    "active_state": {
                        "listener": {
                            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
                            "filter_chains": [
                                {
                                    "filter_chain_match": {"server_names": ["shop.example"]},
                                    "filters": [
                                        {"typed_config": {"rds": {"route_config_name": "https.443.web"}}}
                                    ],
                                }
                            ],
                        }
                    }
                }
            ]
        },
        {
            "dynamic_active_clusters": [
                {"cluster": {"name": "outbound|80|v1|web.shop.svc.cluster.local", "type": "EDS"}}
            ]
        },
        {
            "dynamic_route_configs": [
                {
                    "route_config": {
                        "name": "http.8080",
                        "virtual_hosts": [{"name": "blackhole:80", "domains": ["*"]}],
                    }
                }
            ]
        },
        {
            "dynamic_active_secrets": [
                {
                    "name": "kubernetes://web",
                    "secret": {
                        "tls_certificate": {
                            "certificate_chain": {"inline_string": LEAF.certificate},
                            "private_key": {"inline_string": LEAF.key},
                        }
                    },
                }
            ]
        },
    ]
}


def test_listeners_say_who_is_let_in_and_where_to() -> None:
    assert list(proxyconfig.listeners(DUMP)) == [
        ("0.0.0.0", "8443", "SNI: shop.example", "Route: https.443.web")
    ]


def test_clusters_are_taken_apart() -> None:
    assert list(proxyconfig.clusters(DUMP)) == [
        ("web.shop.svc.cluster.local", "80", "v1", "outbound", "EDS", "")
    ]


def test_a_virtual_host_without_routes_is_a_404() -> None:
    assert list(proxyconfig.routes(DUMP)) == [("http.8080", "blackhole:80", "*", "/*", "404")]


def test_secrets_never_show_a_private_key() -> None:
    (row,) = proxyconfig.secrets(DUMP)
    assert row[:4] == ("kubernetes://web", "Cert Chain", "ACTIVE", "true")
    assert not any("PRIVATE" in cell or "BEGIN" in cell for cell in row)
