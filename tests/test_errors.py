"""The tree of errors: texts name the fix, and each kind has the contract's exit code."""

from meshlib import errors


def test_exit_codes_follow_the_contract() -> None:
    codes = {
        errors.ParameterError: 2,
        errors.PreflightError: 3,
        errors.CheckFailed: 4,
        errors.DeadlineExceeded: 124,
        errors.WaitTimeout: 1,
        errors.ClusterError: 1,
        errors.LabError: 1,
        errors.Unsupported: 1,
    }
    assert {kind: kind.exit_code for kind in codes} == codes


def test_the_fix_is_part_of_the_text() -> None:
    error = errors.LabError("the lab is not up", fix="meshlib lab up")
    assert str(error) == "the lab is not up\n  fix: meshlib lab up"


def test_all_parameter_findings_are_kept() -> None:
    error = errors.ParameterError(["a: unknown", "b: too big"])
    assert error.findings == ["a: unknown", "b: too big"]
    assert str(error) == "a: unknown\nb: too big"
