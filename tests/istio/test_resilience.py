"""Rules, faults and workloads of the resilience notebook, and its tables."""

import pandas as pd
import pytest

from meshlib import parameters
from meshlib.istio import resilience

CFG = parameters.complete({})
RULE = resilience.rule("/try/it", "patience", 80, timeout="1s")


def test_a_rule_counts_attempts_and_takes_further_fields() -> None:
    assert RULE["timeout"] == "1s"
    assert RULE["headers"]["response"]["set"] == {"x-attempts": "%REQ(X-ENVOY-ATTEMPT-COUNT)%"}
    assert RULE["route"] == [{"destination": {"host": "patience", "port": {"number": 80}}}]


def test_the_slow_hop_leads_back_to_the_gateway_under_another_name() -> None:
    gateway, virtual = resilience.slow_hop(CFG, "patience", 400)
    hosts = gateway["spec"]["servers"][0]["hosts"]
    assert hosts == virtual["spec"]["hosts"] == ["slow.gohttpserver.io"]
    assert virtual["spec"]["http"][0]["fault"]["delay"]["fixedDelay"] == "400ms"
    slow = resilience.through_slow_hop(RULE, CFG)
    assert slow["rewrite"] == {"uri": "/healthz", "authority": hosts[0]}
    assert slow["route"][0]["destination"]["host"].startswith("istio-ingressgateway.istio-system.")
    assert RULE["rewrite"] == {"uri": "/healthz"}  # the given rule stays as it is


def test_the_deaf_replica_is_ready_at_its_own_port_and_wrong_at_the_services() -> None:
    pod = resilience.deaf(CFG, "patience")["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports["own"] == CFG.container_port != ports["http"]
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["port"] == "own"


def test_sound_replicas() -> None:
    assert resilience.replicas(CFG, "patience", 2)["spec"]["replicas"] == 2


@pytest.fixture
def measured() -> pd.DataFrame:
    rows = [("well", at / 10, 200, 1.0 + at) for at in range(10)]
    rows += [("ill", at / 10, 503 if at < 5 else 200, 1.0) for at in range(10)]
    return pd.DataFrame(rows, columns=["situation", "at_s", "status", "duration_ms"])


def test_effects(measured: pd.DataFrame) -> None:
    table = resilience.effects(measured).set_index("Situation")
    assert list(table.index) == ["well", "ill"]  # in the order in which they were measured
    assert table["Failed (%)"].to_dict() == {"well": 0.0, "ill": 50.0}
    assert table.loc["ill", "Answers"] == "200 × 5, 503 × 5"
    assert table.loc["well", "p50 (ms)"] == 5.5


def test_by_time(measured: pd.DataFrame) -> None:
    table = resilience.by_time(measured[measured["situation"] == "ill"], slice_s=0.5)
    assert table.to_dict("list") == {
        "Since start (s)": [0.0, 0.5],
        "Requests": [5, 5],
        "Failed (%)": [100.0, 0.0],
    }


def test_flags_are_the_gateways_own() -> None:
    spans = pd.DataFrame(
        [("a", "gw", "UT"), ("a", "gw", "-"), ("a", "app", "DC"), ("b", "gw", "-"), ("b", "gw", None)],
        columns=["trace_id", "service", "flags"],
    )
    assert resilience.flags(spans, "gw").to_numpy().tolist() == [["a", "UT"], ["b", "-"]]


def test_health_of_one_service() -> None:
    def host(address: str, **health: object) -> dict[str, object]:
        at = {"socket_address": {"address": address, "port_value": 81}}
        return {"address": at, "health_status": health}

    clusters = {
        "cluster_statuses": [
            {
                "name": "outbound|80||patience.ns.svc.cluster.local",
                "host_statuses": [host("10.0.0.1"), host("10.0.0.2", failed_outlier_check=True)],
            },
            {"name": "outbound|80||other.ns.svc.cluster.local", "host_statuses": [host("10.0.0.3")]},
            {"name": "outbound|80|v1|patience.ns.svc.cluster.local"},
        ]
    }
    table = resilience.health(clusters, "patience")
    assert table.to_numpy().tolist() == [["10.0.0.1:81", "ok"], ["10.0.0.2:81", "failed"]]
