"""Retries, ejection and limits through real Envoy, with backends that fail and dawdle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshlib.wait import NotYet, until
from tests.lab.istiod.translate import objects as o
from tests.lab.istiod.translate.cases_match import GATEWAY, OTHER, THIRD, rule, shop, uri
from tests.lab.istiod.translate.rig import Ask, Rig

Obj = dict[str, Any]
pytestmark = pytest.mark.lab


def limits(policy: Obj) -> Obj:
    return o.istio("DestinationRule", "other", {"host": OTHER, "trafficPolicy": policy})


def test_retries_make_one_answer_of_failures(rig: Rig) -> None:
    rig.apply([GATEWAY, shop(rule(OTHER, retries={"attempts": 3, "retryOn": "5xx"}))])
    backend = rig.backends[OTHER]
    backend.fail_next, before = 2, len(backend.asked)
    rig.check(Ask(to=OTHER, seen={"x-envoy-attempt-count": "3"}))
    assert len(backend.asked) - before == 3


def test_no_retry_where_attempts_are_zero(rig: Rig) -> None:
    rig.apply([GATEWAY, shop(rule(OTHER, retries={"attempts": 0}))])
    backend = rig.backends[OTHER]
    backend.fail_next, before = 1, len(backend.asked)
    rig.check(Ask(status=503))
    assert len(backend.asked) - before == 1


@pytest.mark.parametrize(("image", "status", "attempts"), [("1.19.3", 200, 2), ("1.29.2", 503, 1)])
def test_the_default_policy_retries_503_only_before_1_24(
    rig: Rig, image: str, status: int, attempts: int
) -> None:
    pod = o.gateway_pod("127.0.0.1", ports=rig.ports, image=f"docker.io/istio/proxyv2:{image}")
    rig.apply([GATEWAY, pod, shop(rule(OTHER))])
    backend = rig.backends[OTHER]
    backend.fail_next, before = 1, len(backend.asked)
    rig.check(Ask(status=status))
    backend.fail_next = 0
    assert len(backend.asked) - before == attempts


def test_a_timeout_is_504(rig: Rig) -> None:
    rig.apply([GATEWAY, shop(rule(OTHER, uri("prefix", "/t"), timeout="0.1s"), rule(OTHER))])
    backend = rig.backends[OTHER]
    backend.slow_s = 0.4
    try:
        rig.check(Ask("/t", status=504, body="upstream request timeout", least_s=0.1))
        rig.check(Ask("/", to=OTHER, least_s=0.4))
    finally:
        backend.slow_s = 0.0


def test_an_endpoint_that_fails_is_ejected(rig: Rig) -> None:
    policy = {
        "outlierDetection": {
            "consecutive5xxErrors": 2,
            "interval": "0.1s",
            "baseEjectionTime": "30s",
            "maxEjectionPercent": 100,
        }
    }
    rig.apply([GATEWAY, limits(policy), shop(rule(OTHER, retries={"attempts": 0}))])
    backend = rig.backends[OTHER]
    backend.fail_next = 2
    for _ in range(2):
        rig.check(Ask(status=503))

    def ejected() -> None:
        status, _, body = rig.send(Ask())
        if (status, body) != (503, "no healthy upstream"):
            raise NotYet(f"{status} {body[:80]}")

    # Envoy's main thread ejects a moment after the worker has counted.
    until(ejected, "the endpoint to be ejected", timeout_s=5, interval_s=0.01)
    before = len(backend.asked)
    rig.check(Ask(status=503, body="no healthy upstream"))
    assert len(backend.asked) == before


def test_requests_over_the_limit_are_refused(rig: Rig) -> None:
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
    rig.apply([GATEWAY, limits({"connectionPool": pool}), shop(rule(OTHER, retries={"attempts": 0}))])
    backend = rig.backends[OTHER]
    backend.slow_s = 0.3
    try:
        with ThreadPoolExecutor(6) as pool_of:
            found = list(pool_of.map(lambda _: rig.send(Ask()), range(6)))
    finally:
        backend.slow_s = 0.0
    answers = sorted(status for status, _, _ in found)
    assert answers == [200, 200, 503, 503, 503, 503]
    assert any(headers.get("x-envoy-overloaded") == "true" for _, headers, _ in found)


def test_a_mirror_gets_the_request_too(rig: Rig) -> None:
    mirror = {"host": THIRD, "port": {"number": 80}}
    rig.apply([GATEWAY, shop(rule(OTHER, mirror=mirror))])
    before = len(rig.backends["third"].asked)
    rig.check(Ask("/mirrored", to=OTHER))
    rig.check(Ask("/mirrored", to=OTHER))

    def mirrored() -> str:
        for item in rig.backends["third"].asked[before:]:
            if item["path"] == "/mirrored":
                return str(item["headers"]["host"])
        raise NotYet("the mirror was not asked")

    # Nobody waits for a mirror: its request may come after the answer.
    assert until(mirrored, "the mirrored request", timeout_s=5, interval_s=0.01) == "shop.example"


def test_weights_are_kept_in_the_long_run(rig: Rig) -> None:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    rig.apply(
        [
            GATEWAY,
            o.istio("DestinationRule", "web", {"host": "web", "subsets": subsets}),
            shop({"route": [o.to("web", subset="v1", weight=3), o.to("web", subset="v2", weight=1)]}),
        ]
    )
    found = [rig.send(Ask())[1]["x-backend"] for _ in range(400)]
    # Four standard deviations of a share of 3/4 in 400 requests.
    assert abs(found.count("v1") / 400 - 0.75) < 0.087


def test_a_hash_keeps_a_client_at_one_endpoint(rig: Rig) -> None:
    policy = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    rig.apply(
        [
            GATEWAY,
            o.istio("DestinationRule", "web", {"host": "web", "trafficPolicy": policy}),
            shop(rule("web")),
        ]
    )
    for user in ("ann", "bob", "cid"):
        assert len({rig.send(Ask(headers={"x-user": user}))[1]["x-backend"] for _ in range(8)}) == 1
