"""The ways to the gateway, best first, with a reason for those that do not exist."""

import socket
from typing import Any

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
