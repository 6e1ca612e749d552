"""What a run leaves behind, as types: the manifest, the results, and how they get onto the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec

from meshlib.runbook.outcomes import OUTCOMES
from meshlib.wait import T

SCHEMA = "urn:meshlib:schema"  # a name, no address: the files are in docs/schemas
OutcomeName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(OUTCOMES)})]


class FailedCell(msgspec.Struct, kw_only=True):
    """The cell that ended a step.  `index` counts all cells from 0; `traceback` is plain text, masked."""

    index: int
    id: str
    error: str
    message: str
    traceback: str = ""


class Checks(msgspec.Struct):
    """How many checks saw what they expected, did not, or were left out."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


class StepRecord(msgspec.Struct, kw_only=True):
    """One notebook of a run.  Durations are monotonic seconds; `cells_s` is the part spent inside cells."""

    name: str
    title: str
    outcome: OutcomeName = "not-run"
    reason: str = ""
    attempts: int = 0
    started_at: str = ""
    duration_s: float = 0.0
    cells_s: float = 0.0
    cells_run: int = 0
    cells: int = 0
    failed_cell: FailedCell | None = None
    checks: Checks = msgspec.field(default_factory=Checks)
    notebook: str = ""
    html: str = ""
    state_before: dict[str, list[str]] = {}
    state_after: dict[str, list[str]] = {}
    state_diff: list[str] = []


class Target(msgspec.Struct, kw_only=True):
    """The cluster that the run worked on; `home` is the embedded lab's folder, empty for a real cluster."""

    target: str = ""
    context: str = ""
    server: str = ""
    kubernetes: str = ""
    home: str = ""
    private: bool = False
    kept: bool = False


class Runner(msgspec.Struct, kw_only=True):
    """Who ran it.  `git` is the revision of the runbook, with `-dirty` where files were changed."""

    pid: int
    host: str
    user: str
    command: list[str]
    git: str
    versions: dict[str, str]


class Manifest(msgspec.Struct, kw_only=True, rename={"schema_": "$schema"}):
    """`manifest.json`: what was asked for, on what, and how it ended.  Times are UTC, RFC 3339."""

    schema_: str = f"{SCHEMA}:manifest"
    run_id: str
    outcome: OutcomeName
    reason: str
    exit_code: int
    started_at: str
    ended_at: str = ""
    duration_s: float = 0.0
    overhead_s: float = 0.0
    clock_jump_s: float = 0.0
    parameters: dict[str, str | int | float | bool]
    parameters_file: str
    parameters_digest: str
    findings: list[str] = []
    target: Target
    runner: Runner
    resumed_from: str = ""
    steps: list[StepRecord]


class Check(msgspec.Struct, kw_only=True):
    """One check of a step: what the notebook expected and observed.  `verdict` is pass, fail or skip."""

    step: str
    name: str
    expected: Any = None
    observed: Any = None
    verdict: str = ""
    at: str = ""


class Results(msgspec.Struct, kw_only=True, rename={"schema_": "$schema"}):
    """`results.json`: every check of the run, and the numbers that the history draws (`metrics`)."""

    schema_: str = f"{SCHEMA}:results"
    run_id: str
    checks: list[Check]
    metrics: dict[str, float] = {}


def json_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record, for docs/schemas."""
    (ref,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = kind.__name__.lower()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{SCHEMA}:{name}",
        **ref,
        "$defs": parts,
    }


def encode(record: msgspec.Struct) -> bytes:
    """A record as JSON that people can read; a byte of a path or an argument that is no UTF-8 becomes `?`."""
    try:
        text = msgspec.json.encode(record)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False).encode("utf-8", "replace")
    return msgspec.json.format(text, indent=2) + b"\n"


def write(path: Path, data: bytes) -> None:
    """Puts `data` at `path` whole or not at all (new file, then rename); survives a crash in between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, kind: type[T]) -> T:
    """A record from disk.  Raises `msgspec.MsgspecError` where it does not fit, `OSError` if missing."""
    return msgspec.json.decode(path.read_bytes(), type=kind)


def checks_of(folder: Path, step: str) -> list[Check]:
    """What the notebook's checkpoints wrote; a line cut off by a dying kernel is left out."""
    path = folder / "checks" / f"{step}.jsonl"
    if not path.exists():
        return []
    found: list[Check] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(msgspec.convert(json.loads(line), Check))
        except (ValueError, msgspec.ValidationError):
            if line.strip():
                found.append(Check(step=step, name="(unreadable line)", observed=line[:200], verdict="skip"))
    return found


def count(checks: list[Check]) -> Checks:
    """Checks by verdict; every verdict that is neither pass nor skip counts as failed."""
    by = Checks()
    for check in checks:
        if check.verdict.lower() in ("pass", "passed", "ok"):
            by.passed += 1
        elif check.verdict.lower() in ("skip", "skipped"):
            by.skipped += 1
        else:
            by.failed += 1
    return by
