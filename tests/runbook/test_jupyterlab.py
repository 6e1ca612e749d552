"""JupyterLab as its reader uses it: from the start page, run all, restart and run all."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from meshlib.lab import cluster
from meshlib.runbook import lessons

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STEPS = ("00_preflight", "01_install_istio")

pytestmark = [pytest.mark.browser, pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """(URL of the start page, the lab's home, the folder with a copy of the notebooks)."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    home, folder, log = tmp_path / "home", tmp_path / "notebooks", tmp_path / "log"
    folder.mkdir()
    for step in STEPS:
        shutil.copy(ROOT / "notebooks" / f"{step}.ipynb", folder)
    own = {
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "meshlib", "lab", "jupyter", "--home", home, "--notebooks", folder]
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--no-browser", "--port=0", "--IdentityProvider.token=secret"],
            env={**os.environ, **own},
            stderr=file,
            stdout=file,
        )
    try:
        found = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), 60, server, log)
        yield f"{found[0]}lab/tree/start.ipynb?token=secret", home, folder
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        cluster.stop(home)


def until(holds: Callable[[], Any], timeout_s: float, server: subprocess.Popen[bytes], log: Path) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := holds():
            return found
        assert server.poll() is None, log.read_text()
        time.sleep(0.2)
    return pytest.fail(f"not within {timeout_s} s: {log.read_text()[-2000:]}")


def test_from_the_start_page_through_the_first_steps_and_again(opened: tuple[str, Path, Path]) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    url, home, folder = opened
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(url)
        assert "next" in page.locator("tr", has_text="00_preflight").last.inner_text()
        for step in STEPS:
            page.get_by_role("tab", name="start.ipynb").click()
            page.get_by_role("link", name=step).first.click()
            page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-MarkdownOutput h1").first.wait_for()
            page.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
            first = run(page, home, folder, step, "Run", "Run All Cells")
            again = run(page, home, folder, step, "Kernel", "Restart Kernel and Run All Cells…")
            assert again.at > first.at
        page.get_by_role("tab", name="start.ipynb").click()
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputArea-editor").click()
        page.keyboard.press("Shift+Enter")
        done = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) tr", has_text="✔ done")
        done.nth(len(STEPS) - 1).wait_for()
        assert done.count() == len(STEPS)
        browser.close()


def run(page: Any, home: Path, folder: Path, step: str, menu: str, item: str) -> lessons.Record:
    """Runs the open notebook by a menu's item until its verdict; every cell ran, none has an error."""
    before = lessons.records(home / "lessons").get(step)
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()
    if menu == "Kernel":
        page.get_by_role("button", name="Confirm Kernel Restart").click()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        page.wait_for_timeout(300)
        now = lessons.records(home / "lessons").get(step)
        if now is not None and now != before:
            break
        errors = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) [data-mime-type$='jupyter.error']")
        assert errors.count() == 0, errors.first.inner_text()[-1500:]
    else:
        shown = page.locator("body").inner_text()
        pytest.fail(f"{step} did not reach its verdict after {item}: {shown[-3000:]}")
    assert now.failed == []
    page.wait_for_timeout(700)
    page.keyboard.press("Control+s")
    saved = until_saved(folder / f"{step}.ipynb", page)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [o for cell in code for o in cell.outputs if o.output_type == "error"] == []
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    return now


def until_saved(path: Path, page: Any) -> Any:
    for _ in range(50):
        saved = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        if all(cell.execution_count for cell in saved.cells if cell.cell_type == "code"):
            return saved
        page.wait_for_timeout(200)
        page.keyboard.press("Control+s")
    return pytest.fail(f"{path.name} was not saved with every cell run")
