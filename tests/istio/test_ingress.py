"""The ways to the gateway, best first, with a reason for those that do not exist."""

import socket
from typing import Any

import pytest

from meshlib.istio import ingress

NODES = [
    {
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "10.0.0.7"},
                {"type": "Hostname", "address": "n1"},
            ]
        }
    }
]


def service(**status: Any) -> dict[str, Any]:
    ports = [
        {"name": "http2", "port": 80, "nodePort": 30080},
        {"name": "https", "port": 443, "nodePort": 30443},
    ]
    return {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.3.4", "ports": ports}, "status": status}


def test_all_ways_in_order() -> None:
    found = ingress.candidates(
        service(loadBalancer={"ingress": [{"ip": "192.0.2.9"}]}), NODES, "127.0.0.1:9443"
    )
    assert [(way, address) for way, address, _ in found] == [
        ("parameter", "127.0.0.1:9443"),
        ("load balancer", "192.0.2.9:443"),
        ("node port", "10.0.0.7:30443"),
        ("cluster IP", "10.96.3.4:443"),
    ]


def test_a_pending_load_balancer_is_explained() -> None:
    way, address, why = ingress.candidates(service(), NODES)[0]
    assert (way, address) == ("load balancer", "")
    assert "<pending>" in why


def test_a_missing_port_is_explained() -> None:
    found = ingress.candidates(service(), NODES, port=8443)
    assert found == [("Service", "", "the Service has no port 8443")]


def test_answers_says_why_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert ingress.answers(f"127.0.0.1:{port}") == ""
    assert "refused" in ingress.answers(f"127.0.0.1:{port}").lower()


CLOUD = [
    {
        "status": {
            "addresses": [
                {"type": "ExternalIP", "address": "198.51.100.7"},
                {"type": "InternalIP", "address": "10.0.0.7"},
            ]
        }
    }
]
SHAPES: dict[str, tuple[dict[str, Any], str, int, list[str]]] = {
    "a host name as balancer": (
        service(loadBalancer={"ingress": [{"hostname": "lb.example.com"}]}), "", 443,
        ["load balancer lb.example.com:443", "node port 198.51.100.7:30443", "node port 10.0.0.7:30443",
         "cluster IP 10.96.3.4:443"],
    ),
    "plain HTTP beside an address for HTTPS": (
        service(), "gate.example.com:8443", 80,
        ["parameter gate.example.com:80", "load balancer ", "node port 198.51.100.7:30080",
         "node port 10.0.0.7:30080", "cluster IP 10.96.3.4:80"],
    ),
    "a cluster IP only": (
        {"spec": {"type": "ClusterIP", "clusterIP": "10.96.3.4", "ports": [{"port": 443}]}}, "", 443,
        ["cluster IP 10.96.3.4:443"],
    ),
    "headless": ({"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 443}]}}, "", 443, []),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_golden_candidates(shape: str) -> None:
    gate, explicit, port, expected = SHAPES[shape]
    found = ingress.candidates(gate, CLOUD, explicit, port)
    assert [f"{way} {address}" for way, address, _ in found] == expected


def test_the_first_way_that_answers_is_taken_and_the_others_have_reasons(api: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        gate = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": ingress.SERVICE, "namespace": "istio-system"},
            "spec": {"type": "LoadBalancer", "ports": [{"name": "https", "port": port}]},
        }
        api.add(gate)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}
        api.admin.merge("services", f"{ingress.SERVICE}/status", status, "istio-system", manager="test")
        cfg = api.config(ingress_address="127.0.0.2")
        found = ingress.reach(api.admin, cfg, port=port, settle_s=0)
        assert (found.way, found.address) == ("load balancer", f"127.0.0.1:{port}")
        refused = found.tried.set_index("Way").loc["parameter"]
        assert (refused["Answers"], bool(refused["Reason"])) == ("no", True)
