"""Addresses: what is chosen, what is held, what can be bound."""

from __future__ import annotations

import os
import socket

import pytest

from meshlib.errors import LabError
from meshlib.lab.network import PodAddresses, Subnet, hold_subnet, loopback_environment, true_ports


def test_two_labs_never_have_one_subnet() -> None:
    first, held = hold_subnet()
    with held:
        with pytest.raises(LabError, match="in use by another lab"):
            hold_subnet(first.second)
        second, other = hold_subnet()
        other.close()
        assert second.second != first.second
    again, held = hold_subnet(first.second)
    held.close()
    assert again == first


def test_the_parts_of_a_subnet() -> None:
    subnet = Subnet(7)
    assert subnet.node == "127.7.0.1"
    assert (subnet.pod(0), subnet.pod(254), subnet.inside(0)) == ("127.7.1.1", "127.7.1.255", "127.7.64.1")
    assert (subnet.cluster_ip(0), subnet.balancer(0)) == ("127.7.128.1", "127.7.255.1")


def test_where_only_127_0_0_1_exists_cluster_ips_stay_distinct_names() -> None:
    subnet = Subnet(7, shared=True)
    assert {subnet.node, subnet.pod(3), subnet.inside(3)} == {"127.0.0.1"}
    assert subnet.cluster_ip(5) == "127.7.128.6"


def test_a_port_in_use_gets_another_one_and_says_so() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        ports = true_ports([port], "127.0.0.1", None)
        assert ports[port] != port
    assert true_ports([port], "127.0.0.1", None) == {port: port}
    assert true_ports([port], "127.0.0.1", None, taken=[port])[port] != port


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take port 81 away")
def test_a_port_that_is_moved_is_the_same_for_every_pod() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.4", 81))
        busy.listen()
        assert true_ports([81], "127.0.0.4", None) == {81: 20081}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may bind port 81")
def test_an_ordinary_user_gets_a_port_that_can_be_bound() -> None:
    assert true_ports([81], "127.0.0.5", None)[81] in (81, 20081)


def test_the_inside_port_must_be_free_too() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.3", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert true_ports([port], "127.0.0.2", "127.0.0.3")[port] != port


def test_pods_keep_their_address_over_a_restart() -> None:
    addresses = PodAddresses(Subnet(9))
    first = addresses.take("a")
    assert addresses.take("b") != first
    assert addresses.take("a") == first
    later = PodAddresses(Subnet(9))
    later.adopt("b", addresses.take("b")[1])
    assert later.take("b") == addresses.take("b")
    assert later.take("c") not in (later.take("b"),)


def test_a_released_address_is_not_given_again_at_once() -> None:
    addresses = PodAddresses(Subnet(9))
    first = addresses.take("a")
    addresses.release("a")
    assert addresses.take("b") != first


def test_a_proxy_of_the_user_is_not_inherited() -> None:
    env = {"PATH": "/bin", "HTTPS_PROXY": "http://corp", "no_proxy": "x"}
    assert loopback_environment(env) == {"PATH": "/bin"}
