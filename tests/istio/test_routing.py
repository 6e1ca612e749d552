"""First match by the documented rules, and the objects of the routes on trial."""

import pytest

from meshlib.istio import routing
from meshlib.istio.objects import Obj

RULES = [
    routing.answering("exact", {"uri": {"exact": "/try/foo"}}),
    routing.answering("prefix", {"uri": {"prefix": "/try/foo"}}),
    routing.answering("regex", {"uri": {"regex": "/try/v[0-9]+/items"}}),
    routing.answering("either", {"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}),
    routing.answering(
        "both", {"headers": {"x-user": {"exact": "tester"}}, "queryParams": {"beta": {"prefix": "y"}}}
    ),
    routing.answering("present", {"headers": {"x-any": {}}}),
    routing.answering("without", {"uri": {"prefix": "/w"}, "withoutHeaders": {"x-internal": {}}}),
]


@pytest.mark.parametrize(
    ("target", "headers", "name"),
    [
        ("/try/foo", {}, "exact"),
        ("/try/foo?a=1", {}, "exact"),
        ("/try/foobar", {}, "prefix"),
        ("/try/v2/items", {}, "regex"),
        ("/try/v2/items/7", {}, ""),
        ("/a", {}, "either"),
        ("/b", {}, "either"),
        ("/c?beta=yes", {"X-User": "tester"}, "both"),
        ("/c?beta=no", {"x-user": "tester"}, ""),
        ("/c?beta=yes", {"x-user": "Tester"}, ""),
        ("/c", {"x-any": ""}, "present"),
        ("/w", {}, "without"),
        ("/w", {"x-internal": "1"}, ""),
    ],
)
def test_first_match(target: str, headers: dict[str, str], name: str) -> None:
    assert routing.first_match(RULES, target, headers) == name


def test_the_order_decides() -> None:
    assert routing.first_match([RULES[1], RULES[0]], "/try/foo") == "prefix"


def test_a_rule_without_match_takes_everything() -> None:
    rules: list[Obj] = [{"name": "all"}, *RULES]
    assert routing.first_match(rules, "/try/foo") == "all"


def test_destination_rule() -> None:
    rule = routing.destination_rule("canary", "shop", versions=["v1"], policy={"outlierDetection": {}})
    assert rule["spec"] == {
        "host": "canary",
        "trafficPolicy": {"outlierDetection": {}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
    }
    assert "subsets" not in routing.destination_rule("canary", "shop")["spec"]


def test_a_destination_names_its_port_and_a_subset_only_when_given() -> None:
    assert routing.destination("a", 80) == {"host": "a", "port": {"number": 80}}
    assert routing.destination("a", 80, "v2")["subset"] == "v2"
