from __future__ import annotations

from meshlib.lab.istiod.debug import sync_status
from meshlib.lab.istiod.delivery import Delivery
from meshlib.lab.istiod.envoyadmin import Taken, acknowledged, order, parse, rejections
from meshlib.lab.istiod.pusher import Served
from meshlib.lab.istiod.translate import Proxy

STATS = """\
cluster_manager.cds.version_text: "2026-11-23T03:00:00Z/2"
http.outbound_0.0.0.0_8080.rds.http.8080.version_text: "2026-11-23T03:00:00Z/9"
listener_manager.lds.version_text: ""
sds.kubernetes_//web.version_text: "2026-11-23T03:00:00Z/1"
cluster_manager.cds.update_rejected: 0
listener_manager.lds.update_rejected: 2
sds.kubernetes_//gone.update_rejected: 1
"""


def test_statistics_tell_versions_and_rejections() -> None:
    taken = parse(STATS)
    assert taken.versions == {
        "cds": {"": "2026-11-23T03:00:00Z/2"},
        "rds": {"http.8080": "2026-11-23T03:00:00Z/9"},
        "sds": {"kubernetes_//web": "2026-11-23T03:00:00Z/1"},
    }
    assert taken.rejected == {"lds": {"": 2}, "sds": {"kubernetes_//gone": 1}}


def test_a_missing_secret_is_no_rejection() -> None:
    assert dict(rejections(parse(STATS), {"kubernetes://gone"})) == {("lds", ""): 2}


def test_a_type_is_acknowledged_when_all_that_is_watched_is_up_to_date() -> None:
    have = Taken(versions={"rds": {"a": "t/2", "b": "t/10"}})
    assert acknowledged("rds", {"a": "t/2", "b": "t/10", "unwatched": "t/9"}, have) == "t/10"
    assert acknowledged("rds", {"a": "t/11", "b": "t/10"}, have) == "t/2"
    assert acknowledged("rds", {"c": "t/1"}, have) == ""
    assert order("t/9") < order("t/10")


def test_syncz_leaves_out_what_was_never_sent_or_taken(tmp_path: object) -> None:
    proxy = Proxy(
        role="router",
        uid="u",
        name="gw",
        namespace="istio-system",
        address="127.0.0.1",
        inside="127.0.0.1",
        labels={},
        ports={},
        service_account="default",
        container_ports=(),
        service_cluster="gw.istio-system",
        config={},
        minor=19,
    )
    served = Served(proxy, Delivery(tmp_path))  # type: ignore[arg-type]
    served.delivery.versions["cds"] = {"": "2026-11-23T03:00:00Z/2"}
    served.delivery.versions["lds"] = {"": "2026-11-23T03:00:00Z/2"}
    entry = sync_status(served, parse(STATS), ["no such cluster"])
    assert entry["proxy"] == "gw.istio-system"
    assert entry["cluster_sent"] == entry["cluster_acked"]
    assert entry["listener_sent"]
    assert "listener_acked" not in entry
    assert "route_sent" not in entry
    assert entry["rejected"][0] == {"type": "lds", "resource": "", "times": 2}
    assert entry["errors"] == ["no such cluster"]
