"""The pages in a real browser with the network off: no request, no complaint, accessible."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
RAW = "pd.DataFrame({'A': ['a'], 'B': [1]}, index=['x'])"
FIGURE = "from matplotlib import pyplot as plt\nplt.plot([1, 3, 2])\nNone"
TABLES = (
    "import pandas as pd\nfrom meshlib import checkpoint, show\n"
    "show.table(pd.DataFrame({'Name': ['a' * 90], 'Port(s)': ['15021:30469/TCP,' * 9]}), caption='services')"
)
METRICS = "show.table(pd.DataFrame([['p50_ms', 3.0], ['error_percent', 0.0]], columns=['m', 'v']), 'metrics')"
CHECKS = "checkpoint.check('status', 200, {})\ncheckpoint.verdict()"


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as starter:
        made = starter.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def pages(bench: Any) -> list[Path]:
    """Every page of a good run and a bad one."""
    shown = bench.notebook(
        TABLES,
        RAW,
        "print('\\x1b[31mred\\x1b[0m')",
        FIGURE,
        METRICS,
        CHECKS.format(200),
        "show.commands('ls')",
    )
    shown.cells[0].source += "\n\n## First part\n\n### A detail\n\n[elsewhere](https://example.org)"
    shown.cells[0].source += f"\n\n| you see | it is |\n|---|---|\n| {'wide' * 30} | 1 |\n"
    bench.put("00_shown.ipynb", shown)
    assert bench.run(html=True).code == 0
    bad = bench.notebook(TABLES, "import sys\nprint('x', file=sys.stderr)", CHECKS.format(404))
    bench.put("01_bad.ipynb", bad)
    result = bench.run(html=True)
    assert result.code == 4
    steps = sorted(result.folder.glob("html/*.html"))
    return [bench.out / "index.html", result.folder / "index.html", *steps]


@pytest.mark.browser
def test_every_page_in_a_browser_without_a_network(browser: Any, pages: list[Path]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    assert len(pages) == 6
    for width, scheme in ((1280, "light"), (390, "dark")):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, bypass_csp=True
        )
        for path in pages:
            look(context, path, axe, f"{path.name} at {width} px, {scheme}")
        context.close()
    buttons(browser, pages)
    raw_table(browser, next(path for path in pages if path.name == "00_shown.html"))


def raw_table(browser: Any, path: Path) -> None:
    """The style sheet that pandas puts before a DataFrame does not reach the page."""
    page = browser.new_page()
    page.goto(path.as_uri())
    heads = "[...document.querySelectorAll('thead th')].map(h => getComputedStyle(h).textAlign)"
    assert "left" in page.evaluate(heads)
    assert page.locator("main style").count() == 0
    page.close()


def look(context: Any, path: Path, axe: Any, where: str) -> None:
    assert path.stat().st_size < 3_000_000
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert [url for url in asked if not url.startswith(("data:", path.as_uri()))] == [], where
    assert said == [], where
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{where}: {wide} px too wide"
    assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption?.textContent)"), where
    assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)"), where
    found = axe.run(page).response["violations"]
    serious = [
        f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == [], where
    page.close()


def buttons(browser: Any, pages: list[Path]) -> None:
    """Under the page's own content policy, the buttons work and what failed is on top."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    step = next(path for path in pages if path.name == "01_bad.html")
    page.goto(step.as_uri())
    assert page.locator("details.code").first.is_visible()
    page.click("#code")
    assert not page.locator("details.code").first.is_visible()
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert said == []
    assert page.locator("#failed").count() == 1
    page.goto((step.parent / "01_bad-no-code.html").as_uri())
    assert page.locator("details.code").count() == 0
    page.goto(pages[1].as_uri())
    assert page.locator("#failed").inner_text().startswith("What failed")
    assert page.locator("main > *").nth(1).get_attribute("class") == "verdict bad"
    context.close()
