"""proxy-status from istiod's syncz."""

from meshlib.istio import proxies

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
