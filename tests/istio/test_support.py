"""The support matrix: consistent in itself, and the exercise's warning reproduced."""

import datetime

import pytest

from meshlib.errors import ParameterError
from meshlib.istio import support

THEN = datetime.date(2023, 10, 21)


def test_the_exercise_s_warning() -> None:
    first, second = support.warnings("1.19.3", "v1.22.2", THEN)
    assert first == (
        "The Kubernetes version v1.22.2 is not supported by Istio 1.19.3. "
        "The minimum supported Kubernetes version is 1.25."
    )
    assert second == "Istio 1.19 supports Kubernetes 1.25 to 1.28; 1.22 is tested, not supported"


@pytest.mark.parametrize(
    ("istio", "kubernetes", "verdict"),
    [
        ("1.30.5", "v1.36.2", "supported"),
        ("1.30.5", "1.31.0", "tested, not supported"),
        ("1.30.5", "v1.26.15+k3s1", "too old"),
        ("1.28.0", "1.36.0", "too new"),
        ("1.99.0", "1.36.0", "unknown"),
    ],
)
def test_verdicts(istio: str, kubernetes: str, verdict: str) -> None:
    assert support.verdict(istio, kubernetes) == verdict


def test_end_of_life_is_said() -> None:
    late = datetime.date(2026, 11, 1)
    assert support.warnings("1.28.3", "1.32.0", late) == ["Istio 1.28 has had no fixes since 2026-07-01"]
    assert support.warnings("1.30.5", "1.36.0", late) == []


def test_an_unknown_minor_says_so() -> None:
    assert "not in the table of 2026-10-01" in support.warnings("1.99.0", "1.36.0")[0]
    with pytest.raises(ParameterError, match="latest"):
        support.minor("latest")


def test_rows_are_consistent() -> None:
    for row in support.MATRIX.values():
        assert row.released < row.last_day
        assert row.tested[1] == row.supported[0] - 1
        assert row.supported[0] <= row.supported[1]
