"""How a run or a step can end, with the exit code of each: one table for code, manifest schema and docs."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib import errors


@dataclass(frozen=True)
class Outcome:
    """One way to end.  `meaning` is one sentence for people; `exit_code` is what the command ends with."""

    name: str
    exit_code: int
    meaning: str


OUTCOMES: dict[str, Outcome] = {
    o.name: o
    for o in (
        Outcome(
            "running", 1, "Not finished; a manifest that still says so belongs to a run that is under way."
        ),
        Outcome("passed", 0, "Every cell ran and every check saw what it expected."),
        Outcome("failed", 1, "A cell raised an error."),
        Outcome(
            "exited-early", 1, "A cell ended the notebook (sys.exit, exit); the cells after it never ran."
        ),
        Outcome("cell-timeout", 1, "A cell took longer than it may."),
        Outcome("kernel-died", 1, "The kernel's process ended in the middle of a cell."),
        Outcome("disk-full", 1, "No space was left for the record."),
        Outcome("lab-failed", 1, "The embedded lab did not start."),
        Outcome("internal-error", 1, "The runner itself failed; run.log has the traceback."),
        Outcome("bad-parameters", 2, "A parameter or an option is unknown, mistyped or out of bounds."),
        Outcome("preflight-failed", 3, "A need of the run is not met; nothing was written to the cluster."),
        Outcome("invalid-notebook", 3, "A notebook cannot be read or breaks the rules of a parameters cell."),
        Outcome("kernel-missing", 3, "There is no kernel for a notebook, or it does not start."),
        Outcome("lock-held", 3, "Another run works on the same target."),
        Outcome("output-unwritable", 3, "The folder for the record cannot be written."),
        Outcome("check-failed", 4, "A check saw something else than it expected."),
        Outcome("deadline", 124, "The run as a whole took longer than it may."),
        Outcome("hung-up", 129, "SIGHUP: the terminal went away."),
        Outcome("interrupted", 130, "SIGINT: somebody pressed Ctrl-C."),
        Outcome("killed", 137, "SIGKILL or the out-of-memory killer ended the runner; its leash wrote this."),
        Outcome("terminated", 143, "SIGTERM: the scheduler or the system asked it to stop."),
        Outcome("not-run", 1, "The step was not reached."),
        Outcome("skipped", 0, "The step was left out on purpose (--only, --from, --resume)."),
    )
}

_BY_ERROR = {
    errors.ParameterError: "bad-parameters",
    errors.PreflightError: "preflight-failed",
    errors.CheckFailed: "check-failed",
    errors.DeadlineExceeded: "deadline",
}


def of_error(ename: str) -> str:
    """The outcome for an error that a cell raised, by the name of its type, as `meshlib.errors` says."""
    kind = getattr(errors, ename, None)
    if isinstance(kind, type) and issubclass(kind, errors.MeshlibError):
        return next((name for base, name in _BY_ERROR.items() if issubclass(kind, base)), "failed")
    return "exited-early" if ename == "SystemExit" else "failed"


def exit_codes_page() -> str:
    """docs/exit-codes.md: the table, and what scripts may rely on."""
    rows = "\n".join(
        f"| {o.exit_code} | `{o.name}` | {o.meaning} |" for o in sorted(OUTCOMES.values(), key=_order)
    )
    return (
        "# Exit codes\n\n<!-- Generated from meshlib/runbook/outcomes.py; a test compares them. -->\n\n"
        "`meshlib run` ends with one of these. The outcome's name is in `manifest.json`, for the run and"
        " for each step, with a reason in words.\n\n| code | outcome | meaning |\n|---|---|---|\n"
        + rows
        + "\n"
    )


def _order(outcome: Outcome) -> tuple[int, str]:
    return outcome.exit_code, outcome.name
