"""What an update of a Service keeps and drops, without any server."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from meshlib.lab.api.service_types import settle

Obj = dict[str, Any]
BALANCED: Obj = {
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.0.0.5",
        "clusterIPs": ["10.0.0.5"],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "externalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": True,
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080}],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "10.9.9.9"}]}},
}


def settled(**changes: Any) -> Obj:
    new = deepcopy(BALANCED)
    for key, value in changes.items():
        if value is None:
            new["spec"].pop(key, None)
        else:
            new["spec"][key] = value
    settle(new, deepcopy(BALANCED))
    return new


def test_what_only_a_load_balancer_has_goes_with_its_type() -> None:
    new = settled(type="ClusterIP")
    assert set(new["spec"]) == {"type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "ports"}
    assert "nodePort" not in new["spec"]["ports"][0]
    assert new["status"] == {"loadBalancer": {}}


def test_an_external_name_has_no_address() -> None:
    new = settled(type="ExternalName", externalName="a.example.test")
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(new["spec"])


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"clusterIP": None, "clusterIPs": None}, "clusterIP", "10.0.0.5"),
        ({"clusterIP": "10.0.0.6"}, "clusterIPs", ["10.0.0.6"]),
        ({"clusterIP": "None"}, "clusterIPs", ["None"]),
        ({"type": "ClusterIP", "externalTrafficPolicy": "Local"}, "externalTrafficPolicy", "Local"),
    ],
)
def test_what_the_caller_left_out_is_kept_and_what_the_caller_changed_stays(
    changes: Obj, field: str, value: Any
) -> None:
    assert settled(**changes)["spec"][field] == value


def test_a_port_keeps_its_node_port() -> None:
    new = settled(ports=[{"name": "web", "protocol": "TCP", "port": 80}])
    assert new["spec"]["ports"][0]["nodePort"] == 30080
