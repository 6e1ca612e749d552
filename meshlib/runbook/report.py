"""A step's page: the executed notebook through nbconvert with our own template, with code and without.

The page is one file: no request leaves it, so it works offline and out of a mail.
"""

from __future__ import annotations

import copy
import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter

from meshlib.runbook import pages
from meshlib.runbook.record import Manifest, StepRecord

TOC = "<!--toc-->"
_HEADING = re.compile(
    r'<h([23]) id="([^"]*)">(.*?)<a class="anchor-link" href="([^"]*)">[^<]*</a></h\1>', re.S
)
_ANY_ANCHOR = re.compile(r'<a class="anchor-link" href="([^"]*)">[^<]*</a>')
_UNNAMED = re.compile(r"(<table\b[^>]*>\s*)(<thead\b|<tbody\b|<tr\b)", re.I)
_MARKDOWN_TABLE = re.compile(r"<table>.*?</table>", re.S)  # the tables of pandas have a class
_DEAF_PRE = re.compile(r"<pre(?![^>]*tabindex)")
_BANNERS = {"papermill-error-cell-tag", "papermill-error-cell-description"}


def write_step(folder: Path, manifest: Manifest, step: StepRecord) -> None:
    """Writes `html/<step>.html` and `html/<step>-no-code.html` and names the first one in `step`."""
    if not step.notebook or not (folder / step.notebook).exists():
        return
    nb = nbformat.reads((folder / step.notebook).read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    (folder / "html").mkdir(exist_ok=True)
    for code in (True, False):
        suffix = "" if code else "-no-code"
        (folder / "html" / f"{step.name}{suffix}.html").write_text(
            page(nb, manifest, step, code=code), encoding="utf-8"
        )
    step.html = f"html/{step.name}.html"


def page(nb: Any, manifest: Manifest, step: StepRecord, *, code: bool) -> str:
    """The HTML of one executed notebook."""
    names = [other.name for other in manifest.steps if other.attempts or other.name == step.name]
    at = names.index(step.name)
    failed_id = step.failed_cell.id if step.failed_cell else ""
    about = {
        "name": step.name,
        "title": step.title,
        "run_id": manifest.run_id,
        "outcome": step.outcome,
        "verdict": headline(step),
        "reason": step.reason,
        "failed_id": failed_id,
        "started": pages.moment(step.started_at),
        "took": pages.seconds(step.duration_s),
        "target": manifest.target.context or manifest.target.target,
        "code": code,
        "suffix": "" if code else "-no-code",
        "previous": names[at - 1] if at else "",
        "next": names[at + 1] if at + 1 < len(names) else "",
    }
    body, _ = exporter().from_notebook_node(prepared(nb), resources={"meshlib": about})
    return _contents(str(body))


@cache
def exporter() -> Any:
    """nbconvert with our template; compiling it takes five times as long as filling it in."""
    made: Any = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="meshlib",
        extra_template_basedirs=[str(pages.TEMPLATES)],
        extra_template_paths=[str(pages.TEMPLATES)],
    )
    made.environment.globals["assets"] = pages.assets()
    made.environment.filters["short"] = pages.short
    return made


def headline(step: StepRecord) -> str:
    """One sentence for the top of the page."""
    checks = step.checks
    if step.outcome == "passed":
        return f"Passed: {checks.passed} checks good" if checks.passed else "Passed"
    words = step.outcome.replace("-", " ").capitalize()
    return f"{words}: {checks.failed} bad checks, {checks.passed} good" if checks.failed else words


def prepared(nb: Any) -> Any:
    """A copy with cells as the page shows them: hidden ones gone, labels, alternative texts."""
    shown = copy.deepcopy(nb)
    cells: list[Any] = []
    heading, number = "", 0
    for cell in shown.cells:
        tags = set(cell.metadata.get("tags", []))
        if "remove-cell" in tags or tags & _BANNERS:
            continue
        if cell.cell_type == "markdown":
            found = re.findall(r"^#{1,3} +(.+)$", cell.source, re.M)
            heading = found[-1] if found else heading
        elif cell.cell_type == "code":
            number += 1
            _label(cell, tags, number)
            for output in cell.outputs:
                _describe(output, cell, heading)
        cells.append(cell)
    shown.cells = cells
    return shown


def _label(cell: Any, tags: set[str], number: int) -> None:
    cell.metadata["meshlib_label"] = f"code {number}"
    if "remove-input" in tags:
        cell.source = ""
    if "injected-parameters" in tags:
        cell.metadata["meshlib_label"] = "parameters of this run"
    if "parameters" in tags:
        cell.metadata["meshlib_label"] = "parameters and their defaults"
    cell.metadata["meshlib_folded"] = bool(tags & {"parameters", "injected-parameters"}) or (
        "parameters.validate(globals())" in cell.source
    )


def _describe(output: Any, cell: Any, heading: str) -> None:
    if output.output_type not in ("display_data", "execute_result"):
        return
    own = output.metadata.get("image/png", {}).get("alt") or output.metadata.get("alt")
    where = f"Figure in the section {heading or 'above'}"
    output.metadata["meshlib_alt"] = own or cell.metadata.get("alt") or where
    if "text/html" in output.data:  # the same table as text helps nobody here
        output.data.pop("text/plain", None)
        output.data["text/html"] = _named(_without_network(str(output.data["text/html"])), heading)


def _without_network(markup: str) -> str:
    """Drops scripts and anything that a browser would fetch; what a notebook displays needs neither.

    A style sheet would change the whole page, as the one does that pandas puts before each table.
    """
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", markup, flags=re.S | re.I)
    return re.sub(r"<(link|iframe)\b[^>]*>", "", markup, flags=re.I)


def _named(markup: str, heading: str) -> str:
    """Gives a table without a caption one for screen readers: the section that it stands in."""
    words = html.escape(re.sub(r"[`*]", "", heading) or "Table")
    caption = f'<caption class="unseen">{words}</caption>'
    return _UNNAMED.sub(lambda found: f"{found[1]}{caption}{found[2]}", markup)


def _scrolling(table: re.Match[str]) -> str:
    """A table of the prose, which may be wider than a narrow screen."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{_named(table[0], "")}</div>'


def _contents(body: str) -> str:
    items = [(m[1], re.sub(r"<[^>]+>", "", m[3]), m[4]) for m in _HEADING.finditer(body)]
    listed = "".join(f'<li class="l{level}"><a href="{href}">{text}</a></li>' for level, text, href in items)
    titles = {href: html.escape(html.unescape(text), quote=True) for _, text, href in items}

    def anchor(match: re.Match[str]) -> str:
        label = f"Link to {titles.get(match[1], 'this section')}"
        return f'<a class="anchor-link" href="{match[1]}" aria-label="{label}">#</a>'

    body = _MARKDOWN_TABLE.sub(_scrolling, body)
    body = _DEAF_PRE.sub('<pre tabindex="0"', body)  # what scrolls must be reachable by keyboard
    return _ANY_ANCHOR.sub(anchor, body).replace(TOC, listed)
