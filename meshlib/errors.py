"""The tree of errors that meshlib raises.

MeshlibError                 anything below; `exit_code` is what the command line ends with
├── ParameterError           2    a parameter is unknown, missing, mistyped or out of bounds
├── PreflightError           3    a need of the run is not met; nothing was written
├── CheckFailed              4    a check observed something else than expected
├── DeadlineExceeded       124    the whole run took longer than allowed
├── WaitTimeout              1    a wait ended without its condition; carries the last thing seen
├── ClusterError             1    the API server refused or could not be reached
├── LabError                 1    the embedded lab cannot start, stop or be found
└── Unsupported              1    what was asked for is not supported here, and says where it is
"""

from __future__ import annotations


class MeshlibError(Exception):
    """An error with its cause chained and, where there is one, the command that fixes it.

    `fix` is one line that a user can run or do next; it is part of the text.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message}\n  fix: {fix}" if fix else message)


class ParameterError(MeshlibError):
    """One or more parameters are wrong; `findings` lists all of them, a line each."""

    exit_code = 2

    def __init__(self, findings: list[str], *, fix: str | None = None) -> None:
        self.findings = findings
        super().__init__("\n".join(findings), fix=fix)


class PreflightError(MeshlibError):
    """A need of the run is not met; nothing has been written to the cluster."""

    exit_code = 3


class CheckFailed(MeshlibError):
    """At least one check of a step observed something else than it expected."""

    exit_code = 4


class DeadlineExceeded(MeshlibError):
    """The run as a whole took longer than its deadline."""

    exit_code = 124


class WaitTimeout(MeshlibError):
    """A condition did not come true in time; `last` is the last thing that was seen."""

    def __init__(self, what: str, timeout_s: float, last: str, *, fix: str | None = None) -> None:
        self.what = what
        self.timeout_s = timeout_s
        self.last = last
        super().__init__(f"gave up after {timeout_s:g} s waiting for {what}; last seen: {last}", fix=fix)


class ClusterError(MeshlibError):
    """The API server refused a call or could not be reached; `status` is the HTTP code, 0 if none came."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", fix: str | None = None) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message, fix=fix)


class LabError(MeshlibError):
    """The embedded lab cannot start, stop or be found."""


class Unsupported(MeshlibError):
    """What was asked for is not supported here."""
