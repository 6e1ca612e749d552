"""One notebook through papermill, on a kernel that is already there, and the truth about how it ended.

papermill's own record is not enough: after a dead kernel or a timeout it marks every cell as completed.  So
the engine below watches the cells itself, and `execute` reads the end off the exception and the process.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import write_ipynb

from meshlib.runbook import folders, outcomes, outputs, record
from meshlib.runbook.kernels import Kernel
from meshlib.runbook.masking import Masker

logger = logging.getLogger("meshlib.run")
_SHOWN = ("stream", "display_data", "update_display_data", "execute_result", "error")


@dataclass
class Watch:
    """What is known about a running notebook; shared by the thread that runs it and the one that waits."""

    kernel: Kernel
    masker: Masker
    cell_timeout_s: float
    on_cell: Callable[[int, int], None]
    nb: Any = None
    current: int | None = None
    ran: dict[int, float] = field(default_factory=dict)
    stopped: str = ""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    outcome: str
    reason: str
    failed_cell: record.FailedCell | None = None


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, watched: which cell runs, how long each took, and no secret gets into an output."""

    watch: Watch

    def execute_cell(self, cell: Any, index: int, **kwargs: Any) -> Any:
        runs = cell.cell_type == "code" and cell.source.strip()
        self.watch.current = index if runs else None
        self.watch.on_cell(index, len(self.nb.cells))
        start = time.monotonic()
        try:
            return super().execute_cell(cell, index, **kwargs)
        finally:
            if runs:
                self.watch.ran[index] = time.monotonic() - start

    def process_message(self, msg: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if msg["msg_type"] in _SHOWN:
            msg["content"] = self.watch.masker.tree(msg["content"])
        return super().process_message(msg, *args, **kwargs)


class _Engine(NBClientEngine):  # type: ignore[misc]
    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, watch: Watch, **kwargs: Any) -> None:
        watch.nb = nb_man.nb
        client = _Client(
            nb_man,
            km=watch.kernel.manager,
            kernel_name=kernel_name,
            timeout_func=lambda cell: cell_timeout_s(cell, watch.cell_timeout_s),
            startup_timeout=60,
            iopub_timeout=20,
            log=logging.getLogger("papermill"),
        )
        client.watch = watch
        client.on_cell_executed = _refuse_exit
        try:
            client.execute()
        finally:
            if client.kc is not None:
                client.kc.stop_channels()


class _Left(Exception):
    """A cell called exit() or quit(): the kernel answers as if all were well and ends a moment later."""


def _refuse_exit(cell: Any, cell_index: int, execute_reply: Any) -> None:
    if any(item.get("source") == "ask_exit" for item in execute_reply["content"].get("payload", [])):
        raise _Left


papermill_engines.register("meshlib", _Engine)


def cell_timeout_s(cell: Any, default_s: float) -> float:
    """Seconds that a cell may take: its tag `timeout-N`, else the default."""
    for tag in cell.metadata.get("tags", []):
        if tag.startswith("timeout-") and tag[8:].isdigit():
            return float(tag[8:])
    return default_s


def execute(source: Path, target: Path, parameters: Mapping[str, Any], watch: Watch) -> Ending:
    """Runs `source` with `parameters`; `target` gets what ran, whole or partial.  Never raises."""
    try:
        papermill.execute_notebook(
            _literal(source), _literal(target), parameters=dict(parameters), engine_name="meshlib",
            kernel_name="python3", progress_bar=False, watch=watch,
        )  # fmt: skip
        ending = _after_last_cell(watch)
    except PapermillExecutionError as error:
        watch.nb.cells = [cell for cell in watch.nb.cells if not _is_banner(cell)]  # they shift the cells
        ending = _of_cell_error(error, watch)
    except CellTimeoutError:
        limit = cell_timeout_s(watch.nb.cells[watch.current or 0], watch.cell_timeout_s)
        ending = _at_cell(
            watch, "cell-timeout", f"cell {_number(watch)} took longer than {limit:g} s", "CellTimeout"
        )
    except _Left:
        ending = _at_cell(
            watch, "exited-early", f"cell {_number(watch)} ended the notebook with exit()", "exit"
        )
    except DeadKernelError:
        ending = _dead(watch)
    except Exception as error:  # whatever it was, it becomes the step's outcome
        logger.exception("executing %s", source.name)
        status = watch.kernel.exit_status()
        if folders.is_full(error):
            ending = _at_cell(
                watch, "disk-full", f"no space left on the device for {target.parent}", "OSError"
            )
        elif status is not None:
            ending = _dead(watch)
        else:
            ending = _at_cell(
                watch, "internal-error", f"{type(error).__name__}: {error}", type(error).__name__
            )
    if watch.stopped:
        return Ending(watch.stopped, f"stopped while cell {_number(watch)} ran", ending.failed_cell)
    return ending


def save(watch: Watch, target: Path, ending: Ending) -> None:
    """Writes the notebook, masked, with true statuses: what ran, what failed, what never ran."""
    if watch.nb is None:
        return
    failed = ending.failed_cell.index if ending.failed_cell else None
    for index, cell in enumerate(watch.nb.cells):
        own = cell.metadata.setdefault("papermill", {})
        if index == failed:
            own["exception"], own["status"] = True, "failed"
        elif cell.cell_type == "code" and index not in watch.ran:
            own["status"] = "pending"
    watch.nb.metadata.setdefault("papermill", {})["exception"] = True if ending.outcome != "passed" else None
    watch.nb.metadata["meshlib_run"] = {"outcome": ending.outcome, "reason": watch.masker.text(ending.reason)}
    for cell in watch.nb.cells:
        cell.source = watch.masker.text(cell.source)
        if cell.cell_type == "code":
            cell.outputs = outputs.tidy(cell.outputs, watch.masker)
    write_ipynb(watch.nb, str(target))


def _is_banner(cell: Any) -> bool:
    return any(tag.startswith("papermill-error") for tag in cell.metadata.get("tags", []))


def _after_last_cell(watch: Watch) -> Ending:
    for index, cell in enumerate(watch.nb.cells):
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if errors and "raises-exception" not in cell.metadata.get("tags", []):
            watch.current = index
            reason = f"cell {_number(watch)} ended the notebook with {errors[-1].ename}({errors[-1].evalue})"
            return _at_cell(watch, "exited-early", reason, errors[-1].ename, errors[-1].evalue)
    return Ending("passed", "")


def _of_cell_error(error: PapermillExecutionError, watch: Watch) -> Ending:
    outcome = outcomes.of_error(error.ename)
    text = watch.masker.text(str(error.evalue)).strip()
    first = text.splitlines()[0] if text else ""
    trace = watch.masker.text(_plain("\n".join(error.traceback)))
    return _at_cell(
        watch, outcome, f"cell {_number(watch)}: {error.ename}: {first}", error.ename, text, trace
    )


def _dead(watch: Watch) -> Ending:
    status = watch.kernel.exit_status()
    how = (
        "ended"
        if status is None
        else f"was killed by signal {-status}"
        if status < 0
        else f"exited with {status}"
    )
    outcome = "exited-early" if status == 0 else "kernel-died"
    return _at_cell(watch, outcome, f"the kernel {how} in cell {_number(watch)}", "DeadKernel")


def _at_cell(
    watch: Watch, outcome: str, reason: str, error: str, message: str = "", trace: str = ""
) -> Ending:
    if watch.nb is None or watch.current is None:
        return Ending(outcome, reason)
    cell = watch.nb.cells[watch.current]
    failed = record.FailedCell(
        index=watch.current, id=cell.get("id", ""), error=error, message=message or reason, traceback=trace
    )
    return Ending(outcome, reason, failed)


def _number(watch: Watch) -> str:
    return "?" if watch.current is None else str(watch.current + 1)


def _literal(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")  # papermill fills braces in a path


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
