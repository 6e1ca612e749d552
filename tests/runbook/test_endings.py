"""Ways to fail: each ends with the right exit code and a true manifest, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshlib.runbook import folders, locks

SLEEP = "import time\ntime.sleep(60)"
GONE = "from meshlib import errors\n"

# what the cell does → (exit code, outcome, what the reason says)
CELLS = {
    "an exception": ("1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
    "a check that failed": (
        GONE + "raise errors.CheckFailed('1 of 3 checks failed')",
        4,
        "check-failed",
        "1 of 3",
    ),
    "a need not met": (
        GONE + "raise errors.PreflightError('no CRDs', fix='x')",
        3,
        "preflight-failed",
        "no CRDs",
    ),
    "a parameter of no use here": (
        GONE + "raise errors.ParameterError(['a: bad'])",
        2,
        "bad-parameters",
        "a: bad",
    ),
    "a wait that gave up": (GONE + "raise errors.WaitTimeout('Envoy', 3, 'refused')", 1, "failed", "refused"),
    "sys.exit(0)": ("import sys\nsys.exit(0)", 1, "exited-early", "SystemExit"),
    "exit()": ("exit()", 1, "exited-early", "cell 5"),
    "os._exit(0)": ("import os\nos._exit(0)", 1, "exited-early", "the kernel exited with 0"),
    "a killed kernel": (
        "import os\nos.kill(os.getpid(), 9)",
        1,
        "kernel-died",
        "was killed by signal 9 in cell 5",
    ),
    "a crashed kernel": ("import os\nos._exit(7)", 1, "kernel-died", "exited with 7"),
    "Python that does not parse": ("def (:", 1, "failed", "SyntaxError"),
}


@pytest.mark.parametrize("what", CELLS)
def test_a_cell_that_ends_badly(bench: Any, what: str) -> None:
    source, code, outcome, says = CELLS[what]
    result = bench.run_cells(source, "never = 1")
    assert (result.code, result.manifest.outcome, result.manifest.exit_code) == (code, outcome, code)
    assert says in result.manifest.reason
    assert result.step.outcome == outcome
    assert result.step.failed_cell is not None
    assert result.step.failed_cell.id == "cell-3"
    assert result.step.cells_run == 4  # parameters, injected ones, validation, the bad one; not the one after
    assert (bench.out / "latest").resolve() == result.folder
    assert (result.folder / result.step.notebook).exists()
    nothing_left(result.folder)


def nothing_left(folder: Path) -> None:
    assert not (folder / ".reserve").exists()
    assert not list(folder.parent.glob(".latest-*"))
    locks.acquire(os.environ["MESHLIB_HOME"], "the test").close()
    for process in psutil.process_iter(["cmdline", "environ"]):
        assert (process.info["environ"] or {}).get("MESHLIB_RUN_DIR") != str(folder), process


def test_a_good_run(bench: Any) -> None:
    bench.put("00_one.ipynb", bench.notebook("assert cfg.replicas == 3", "assert cfg.run_id"))
    bench.put("01_two.ipynb", bench.notebook("import os\nassert os.environ['MESHLIB_STEP'] == '01_two'"))
    result = bench.run(overrides=["replicas=3"])
    assert (result.code, result.manifest.outcome) == (0, "passed")
    assert [step.outcome for step in result.manifest.steps] == ["passed", "passed"]
    assert "exit code 0" in result.printed
    nothing_left(result.folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"overrides": ["replcas=3"]}, "did you mean replicas?"),
        ({"overrides": ["replicas"]}, "name=value"),
        ({"overrides": ["replicas=99", "host=_"]}, "2 mistakes"),
        ({"parameters_file": Path("/nowhere.yaml")}, "No such file"),
        ({"only": ["42"]}, "there is no such notebook"),
        ({"first": "9x"}, "there is no such notebook"),
        ({"resume": "nosuch"}, "there is no run 'nosuch'"),
        ({"read_only": True}, "none of the chosen notebooks observes only"),
        ({"deadline_s": -1.0}, "deadline_s"),
    ],
)
def test_bad_parameters_and_options(bench: Any, options: dict[str, object], says: str) -> None:
    bench.put("00_only.ipynb", bench.notebook("1"))
    result = bench.run(**options)
    assert (result.code, result.manifest.outcome) == (2, "bad-parameters")
    assert says in "\n".join([result.manifest.reason, *result.manifest.findings])
    assert not any(step.attempts for step in result.manifest.steps)
    nothing_left(result.folder)


BROKEN = {
    "corrupted": ("{ not json", "not a notebook"),
    "another format": ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}', "not a notebook"),
    "no parameters cell": (None, "no cell is tagged `parameters`"),
    "a derived default": ("replicas: int = 1 + 1", "not a literal"),
    "another default": ("replicas: int = 3", "the table `replicas: int = 2`"),
    "an unknown name": ("replcas: int = 3", "did you mean replicas?"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_notebook_stops_the_run_before_it_starts(bench: Any, what: str) -> None:
    made, says = BROKEN[what]
    if not str(made).startswith("{"):
        made = bench.notebook("1", parameters=made)
    bench.put("00_good.ipynb", bench.notebook("1"))
    bench.put("01_broken.ipynb", made)
    result = bench.run()
    assert (result.code, result.manifest.outcome) == (3, "invalid-notebook")
    assert says in result.manifest.reason
    assert not any(step.attempts for step in result.manifest.steps)
    nothing_left(result.folder)


def test_no_notebooks_at_all(bench: Any) -> None:
    assert bench.run().code == 3


def test_a_missing_kernel(bench: Any) -> None:
    made = bench.notebook("1")
    made.metadata.kernelspec = {"name": "julia-1.11", "display_name": "Julia", "language": "julia"}
    bench.put("00_only.ipynb", made)
    result = bench.run()
    assert (result.code, result.manifest.outcome) == (3, "kernel-missing")
    assert "julia-1.11" in result.manifest.reason
    nothing_left(result.folder)


def test_a_cell_that_takes_too_long(bench: Any) -> None:
    result = bench.run_cells(SLEEP, tags={0: ["timeout-1"]})
    assert (result.code, result.manifest.outcome) == (1, "cell-timeout")
    assert "cell 5 took longer than 1 s" in result.manifest.reason
    nothing_left(result.folder)


def test_the_deadline_of_the_run(bench: Any) -> None:
    result = bench.run_cells(SLEEP, deadline_s=6.0)
    assert (result.code, result.manifest.outcome) == (124, "deadline")
    assert result.manifest.duration_s < 60
    nothing_left(result.folder)


@pytest.mark.parametrize(
    ("number", "code", "outcome"),
    [
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGHUP, 129, "hung-up"),
    ],
)
def test_a_signal_lets_the_cell_clean_up(
    bench: Any, tmp_path: Path, number: signal.Signals, code: int, outcome: str
) -> None:
    began, cleaned = tmp_path / "began", tmp_path / "cleaned"
    cell = f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntry:\n    time.sleep(60)\n"
    after(began, lambda: os.kill(os.getpid(), number))
    result = bench.run_cells(cell + f"finally:\n    pathlib.Path({str(cleaned)!r}).touch()")
    assert (result.code, result.manifest.outcome) == (code, outcome)
    assert result.step.failed_cell is not None
    assert result.step.failed_cell.error == "KeyboardInterrupt"
    assert cleaned.exists()
    nothing_left(result.folder)


def test_a_cell_that_ignores_the_signal_is_killed(bench: Any, tmp_path: Path) -> None:
    began = tmp_path / "began"
    deaf = "import pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    after(began, lambda: os.kill(os.getpid(), signal.SIGTERM))
    result = bench.run_cells(deaf + f"pathlib.Path({str(began)!r}).touch()\ntime.sleep(60)")
    assert (result.code, result.manifest.outcome) == (143, "terminated")
    nothing_left(result.folder)


def after(path: Path, act: object) -> None:
    def wait() -> None:
        for _ in range(600):
            if path.exists():
                act()  # type: ignore[operator]
                return
            time.sleep(0.05)

    threading.Thread(target=wait, daemon=True).start()


def test_a_killed_runner_leaves_a_true_manifest_and_no_process(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as scratch:  # a socket's path is short
        monkeypatch.setenv("TMPDIR", scratch)
        killed_runner(bench, tmp_path / "began")
        until(lambda: not list(Path(scratch).glob("mesh-*")))


def killed_runner(bench: Any, began: Path) -> None:
    child = "import pathlib, subprocess\nsubprocess.Popen(['sleep', '60'])\n"
    child += f"pathlib.Path({str(began)!r}).touch()\n"
    bench.put("00_only.ipynb", bench.notebook(child + SLEEP))
    runner = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "meshlib",
            "run",
            "--notebooks",
            bench.notebooks,
            "--out",
            bench.out,
            "--no-html",
        ],
        stderr=subprocess.DEVNULL,
    )
    until(began.exists)
    runner.kill()
    runner.wait()
    (folder,) = (p for p in bench.out.glob("2*") if p.is_dir())
    until(lambda: '"killed"' in (folder / "manifest.json").read_text())
    until(
        lambda: not any((p.info["environ"] or {}).get("MESHLIB_RUN_DIR") == str(folder) for p in processes())
    )
    bench.put("00_only.ipynb", bench.notebook("1"))
    assert bench.run().code == 0  # no lock is left


def processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["environ"]))


def until(holds: object, timeout_s: float = 30) -> None:
    for _ in range(int(timeout_s / 0.1)):
        if holds():  # type: ignore[operator]
            return
        time.sleep(0.1)
    pytest.fail(f"not within {timeout_s} s")


def test_a_process_that_a_cell_left_behind_ends_with_its_kernel(bench: Any) -> None:
    result = bench.run_cells("import subprocess\nchild = subprocess.Popen(['sleep', '300'])")
    assert result.code == 0
    nothing_left(result.folder)


def test_a_target_in_use(bench: Any) -> None:
    bench.put("00_only.ipynb", bench.notebook("1"))
    assert bench.run().code == 0
    latest = (bench.out / "latest").resolve()
    with locks.acquire(os.environ["MESHLIB_HOME"], "the-other-run"):
        result = bench.run()
    assert (result.code, result.manifest.outcome) == (3, "lock-held")
    assert "the-other-run" in result.manifest.reason
    assert (bench.out / "latest").resolve() == latest


def test_no_place_for_a_lock(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = bench.run_cells("1")
    assert (result.code, result.manifest.outcome) == (3, "preflight-failed")
    assert "no lock can be kept" in result.manifest.reason
    assert "XDG_STATE_HOME=DIR" in result.manifest.reason


def test_an_output_folder_that_cannot_be_written(bench: Any) -> None:
    bench.put("00_only.ipynb", bench.notebook("1"))
    bench.out.write_text("a file is in the way")
    result = bench.run(out=bench.out / "deeper")
    assert result.code == 3
    assert "output-unwritable" in result.printed
    assert "--out DIR" in result.printed


def test_a_full_disk(bench: Any, tmp_path: Path) -> None:
    bench.put("00_only.ipynb", bench.notebook("print('x' * 5_000_000)", "1"))
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    command = f"{sys.executable} -m meshlib run --notebooks {bench.notebooks} --out {disk} --no-html"
    inside = f"mount -t tmpfs -o size=2m tmpfs {disk} && {command}; code=$?; cp -r {disk} {kept}; exit $code"
    if not shutil.which("unshare"):
        pytest.skip("no unshare to mount a small disk with")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", inside], capture_output=True, text=True, check=False, timeout=90
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"may not mount a small disk here: {done.stderr.strip()}")
    manifest = next(kept.glob("2*/manifest.json")).read_text()
    assert done.returncode == 1, done.stderr
    assert '"outcome": "disk-full"' in manifest
    assert '"exit_code": 1' in manifest
    assert not [*kept.glob("2*/.reserve"), *kept.glob(".latest-*")]


def test_a_clock_that_jumps_changes_no_duration(bench: Any) -> None:
    bench.put("00_only.ipynb", bench.notebook("1"))
    ticks = iter([0.0, 0.0, 0.0])
    clock = folders.Clock(wall_s=lambda: time.time() + next(ticks, -7200.0))
    result = bench.run(clock=clock)
    assert result.code == 0
    assert 0 < result.step.duration_s < 60
    assert result.manifest.clock_jump_s == pytest.approx(-7200, abs=10)


def test_an_api_server_that_is_gone(bench: Any, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
    )
    cell = "import pathlib\nfrom meshlib.kube import client\n"
    cell += f"client.connect(pathlib.Path({str(kubeconfig)!r}), 'x').list('pods')"
    result = bench.run_cells(cell)
    assert (result.code, result.manifest.outcome) == (1, "failed")
    assert "ClusterError: no answer from the API server https://127.0.0.1:1" in result.manifest.reason
    nothing_left(result.folder)


def test_retries_only_where_the_notebook_says_so(bench: Any, tmp_path: Path) -> None:
    count = f"import pathlib\np = pathlib.Path({str(tmp_path / 'n')!r})\np.open('a').write('x')\n"
    made = bench.notebook(count + "assert len(p.read_text()) > 1")
    bench.put("00_only.ipynb", made)
    assert bench.run().code == 1
    made.metadata.meshlib = {"retries": 1}
    bench.put("00_only.ipynb", made)
    (tmp_path / "n").unlink()
    result = bench.run()
    assert (result.code, result.step.attempts) == (0, 2)
