"""How a run or a step can end, with the exit code of each: one table for code, manifest schema and docs."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib import errors


@dataclass(frozen=True)
class Outcome:
    """One way to end.  `meaning` and `todo` are sentences for people; the command ends with `exit_code`."""

    name: str
    exit_code: int
    meaning: str
    todo: str = ""


OUTCOMES: dict[str, Outcome] = {
    o.name: o
    for o in (
        Outcome(
            "running", 1, "Not finished; a manifest that still says so belongs to a run that is under way."
        ),
        Outcome("passed", 0, "Every cell ran and every check saw what it expected."),
        Outcome(
            "failed",
            1,
            "A cell raised an error.",
            "The last line of the error says what was missing; the step's page shows the cells before it.",
        ),
        Outcome(
            "exited-early",
            1,
            "A cell ended the notebook (sys.exit, exit); the cells after it never ran.",
            "Take the exit out of the notebook; a check says more.",
        ),
        Outcome(
            "cell-timeout",
            1,
            "A cell took longer than it may.",
            "See what the cell waited for; the tag `timeout-N` gives a cell N seconds.",
        ),
        Outcome(
            "kernel-died",
            1,
            "The kernel's process ended in the middle of a cell.",
            "Look into the system's log for the out-of-memory killer, then run again.",
        ),
        Outcome(
            "disk-full",
            1,
            "No space was left for the record.",
            "Make room (`meshlib prune --keep 30`), then run again.",
        ),
        Outcome(
            "lab-failed",
            1,
            "The embedded lab did not start.",
            "The reason says which part; `meshlib lab up` tries that alone.",
        ),
        Outcome(
            "internal-error",
            1,
            "The runner itself failed; run.log has the traceback.",
            "Please report it, with that traceback.",
        ),
        Outcome(
            "bad-parameters",
            2,
            "A parameter or an option is unknown, mistyped or out of bounds.",
            "Correct what is listed; `meshlib parameters` lists every name, type and bound.",
        ),
        Outcome(
            "preflight-failed",
            3,
            "A need of the run is not met; nothing was written to the cluster.",
            "The table of needs in `00_preflight` names the repair of each.",
        ),
        Outcome(
            "invalid-notebook",
            3,
            "A notebook cannot be read or breaks the rules of a parameters cell.",
            "Correct the notebook as the reason says.",
        ),
        Outcome(
            "kernel-missing",
            3,
            "There is no kernel for a notebook, or it does not start.",
            "Make the environment anew: `make clean run`.",
        ),
        Outcome(
            "lock-held", 3, "Another run works on the same target.", "Wait for the other run, or stop it."
        ),
        Outcome(
            "output-unwritable",
            3,
            "The folder for the record cannot be written.",
            "Name another folder with `--out`, or repair its rights.",
        ),
        Outcome(
            "check-failed",
            4,
            "A check saw something else than it expected.",
            "Compare expected with observed; while the cluster is up, `meshlib diagnose` names causes.",
        ),
        Outcome(
            "deadline",
            124,
            "The run as a whole took longer than it may.",
            "See which step took long, or give the run more time with `--deadline`.",
        ),
        Outcome(
            "hung-up",
            129,
            "SIGHUP: the terminal went away.",
            "Start it where no terminal is needed: `meshlib schedule` prints a ready file.",
        ),
        Outcome("interrupted", 130, "SIGINT: somebody pressed Ctrl-C."),
        Outcome(
            "killed",
            137,
            "SIGKILL or the out-of-memory killer ended the runner; its leash wrote this.",
            "Look into the system's log for the out-of-memory killer.",
        ),
        Outcome(
            "terminated",
            143,
            "SIGTERM: the scheduler or the system asked it to stop.",
            "See who stopped it, such as a time limit of the scheduler.",
        ),
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
        f"| {o.exit_code} | `{o.name}` | {o.meaning} | {o.todo} |"
        for o in sorted(OUTCOMES.values(), key=_order)
    )
    return (
        "# Exit codes\n\n<!-- Generated from meshlib/runbook/outcomes.py; a test compares them. -->\n\n"
        "`meshlib run` ends with one of these. The outcome's name is in `manifest.json`, for the run and"
        " for each step, with a reason in words.\n\n"
        "| code | outcome | meaning | what to do |\n|---|---|---|---|\n" + rows + "\n"
    )


def _order(outcome: Outcome) -> tuple[int, str]:
    return outcome.exit_code, outcome.name
