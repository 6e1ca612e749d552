"""The folder of a run, the pointer to the latest one, and which old ones may go."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from meshlib.errors import MeshlibError, ParameterError
from meshlib.runbook import record
from meshlib.runbook.outcomes import OUTCOMES

RESERVE_BYTES = 512 * 1024  # kept back so that a full disk can still be told in the manifest


@dataclass(frozen=True)
class Clock:
    """Wall time for names and people, monotonic time for durations; tests hand in one that jumps."""

    wall_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic

    def now(self) -> str:
        """UTC as RFC 3339 with milliseconds."""
        return datetime.fromtimestamp(self.wall_s(), UTC).isoformat(timespec="milliseconds")


def create(out: Path, clock: Clock) -> Path:
    """A new folder `<UTC time>-<id>` under `out` with its reserve.  Raises `OSError` where that cannot be."""
    stamp = datetime.fromtimestamp(clock.wall_s(), UTC).strftime("%Y%m%dT%H%M%SZ")
    out.mkdir(parents=True, exist_ok=True)
    folder = out / f"{stamp}-{secrets.token_hex(3)}"
    folder.mkdir()
    for name in ("notebooks", "checks", "tables"):
        (folder / name).mkdir()
    with (folder / ".reserve").open("wb") as file:
        file.write(b"\0" * RESERVE_BYTES)
    return folder


def release_reserve(folder: Path) -> None:
    """Gives the reserve back, so that the last files of the run fit."""
    (folder / ".reserve").unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a full disk or a used-up quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def point_latest(folder: Path) -> None:
    """Moves `latest` to `folder` in one step: there is always either the old target or the new one."""
    temporary = folder.parent / f".latest-{folder.name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name, target_is_directory=True)
    try:
        temporary.replace(folder.parent / "latest")
    finally:
        temporary.unlink(missing_ok=True)


def runs(out: Path) -> list[tuple[Path, record.Manifest]]:
    """Every run under `out` with a readable manifest, newest first."""
    found: list[tuple[Path, record.Manifest]] = []
    for path in out.glob("*/manifest.json"):
        if path.parent.is_symlink():
            continue
        try:
            found.append((path.parent, record.load(path, record.Manifest)))
        except (OSError, msgspec.MsgspecError):
            continue  # not a run of ours, or one of another version
    return sorted(found, key=lambda item: (item[1].started_at, item[0].name), reverse=True)


def find(out: Path, name: str) -> Path:
    """The run called `name` (`latest`, a folder's name, its id, or a path).  Raises `ParameterError`."""
    for path in (Path(name), out / name):
        if (path / "manifest.json").is_file():
            return path.resolve()
    if matches := [p.parent for p in out.glob(f"*{name}*/manifest.json") if not p.parent.is_symlink()]:
        return max(matches).resolve()
    raise ParameterError([f"there is no run {name!r} in {out}"], fix=f"meshlib history --out {out}")


def resumable(out: Path, name: str) -> Path:
    """The run that `--resume` means: as `find`, but `latest` is the newest one that has tried a step, not one
    that ended before because of its parameters.  Raises `ParameterError`."""
    tried = [folder for folder, manifest in runs(out) if any(step.attempts for step in manifest.steps)]
    return tried[0].resolve() if name == "latest" and tried else find(out, name)


def close_orphans(out: Path) -> None:
    """Says in the manifests of runs whose runner is gone how they ended, so that none stays `running`."""
    for folder, manifest in runs(out):
        if manifest.outcome == "running" and not psutil.pid_exists(manifest.runner.pid):
            mark_killed(folder)


def mark_killed(folder: Path) -> None:
    """Turns a manifest that still says `running` into `killed`; any other is left as it is."""
    path = folder / "manifest.json"
    manifest = record.load(path, record.Manifest)
    if manifest.outcome != "running":
        return
    manifest.outcome, manifest.exit_code = "killed", OUTCOMES["killed"].exit_code
    manifest.reason = "the runner was killed and could not write this itself"
    manifest.ended_at = Clock().now()
    for step in manifest.steps:
        if step.outcome == "running":
            step.outcome, step.reason = "killed", "the runner was killed while this step ran"
    release_reserve(folder)
    record.write(path, record.encode(manifest))


def prune(out: Path, keep: int) -> list[Path]:
    """Deletes all runs but the newest `keep`; the one that `latest` points to and running ones stay.

    Raises `MeshlibError` for the first that cannot be deleted.
    """
    latest = Path(os.path.realpath(out / "latest"))
    gone: list[Path] = []
    for folder, manifest in runs(out)[keep:]:
        running = manifest.outcome == "running" and psutil.pid_exists(manifest.runner.pid)
        if folder.resolve() != latest and not running:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise MeshlibError(f"{folder} cannot be deleted: {error.strerror or error}") from error
            gone.append(folder)
    return gone
