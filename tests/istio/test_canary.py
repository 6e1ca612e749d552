"""The verdict on a canary, and the objects that it needs."""

import pytest

from meshlib import parameters
from meshlib.istio import canary
from meshlib.istio.canary import Count


def count(weight: float, v1: int, v2: int, *, failed: int = 0, failed_before: int = 0) -> Count:
    return Count("v2", weight, {"v1": v1, "v2": v2}, {"v1": failed_before, "v2": failed})


@pytest.mark.parametrize(
    ("seen", "decision"),
    [
        (count(10, 360, 40), "promote"),
        (count(100, 0, 400), "promote"),
        (count(10, 300, 100), "hold"),  # 25 % is not 10 %
        (count(10, 36, 4), "hold"),  # too few answers
        (count(10, 0, 0), "hold"),
        (count(10, 360, 40, failed=12), "roll back"),
        (count(10, 360, 40, failed=1), "promote"),  # chance explains one failure
        (count(10, 360, 40, failed=4, failed_before=36), "promote"),  # v1 is as bad
        (count(100, 0, 400, failed=40), "roll back"),
    ],
)
def test_judge(seen: Count, decision: str) -> None:
    assert canary.judge(seen).decision == decision


def test_a_sound_share_is_seldom_held() -> None:
    held = [v2 for v2 in range(26, 56) if canary.judge(count(10, 400 - v2, v2)).decision != "promote"]
    assert held == []


def test_table_has_the_interval_and_the_reason() -> None:
    table = canary.table([count(10, 360, 40)])
    row = table.iloc[0]
    assert (row["Measurement"], row["Sent"], row["By the canary"]) == ("10 % to v2", 400, 40)
    assert row["From (%)"] < 10 < row["To (%)"]
    assert row["Verdict"] == "promote"


def test_weight_0_is_left_out_and_versions_are_named() -> None:
    (only,) = canary.split("shop", 80, {"v1": 100, "v2": 0})
    assert only["destination"] == {"host": "shop", "port": {"number": 80}, "subset": "v1"}
    assert only["headers"] == {"response": {"set": {"x-version": "v1"}}}


def test_workload_is_selected_by_app_and_version() -> None:
    made = canary.workload(parameters.complete({}), "shop", "v2")
    assert made["metadata"]["name"] == "shop-v2"
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == made["spec"]["selector"]["matchLabels"] == {"app": "shop", "version": "v2"}
    assert made["spec"]["template"]["spec"]["serviceAccountName"] == "gohttpserver"
