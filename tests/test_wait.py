"""The polling loop keeps the last reason."""

import pytest

from meshlib import wait
from meshlib.errors import WaitTimeout


def test_returns_what_the_probe_returns() -> None:
    left = [wait.NotYet("two to go"), wait.NotYet("one to go")]

    def probe() -> str:
        if left:
            raise left.pop(0)
        return "there"

    assert wait.until(probe, "the thing", interval_s=0.001) == "there"


def test_gives_up_with_the_last_reason() -> None:
    def probe() -> None:
        raise wait.NotYet("0 of 2 pods ready")

    with pytest.raises(WaitTimeout, match="the pods; last seen: 0 of 2 pods ready") as caught:
        wait.until(probe, "the pods", timeout_s=0.05, interval_s=0.01)
    assert caught.value.last == "0 of 2 pods ready"


def test_other_errors_pass_through() -> None:
    def probe() -> None:
        raise KeyError("boom")

    with pytest.raises(KeyError):
        wait.until(probe, "x")
