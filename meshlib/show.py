"""What a notebook shows: tables, tables side by side, and the commands that do the same by hand.

With `MESHLIB_RUN_DIR` and `MESHLIB_STEP` set a named table is also written to
`$MESHLIB_RUN_DIR/tables/<step>-<name>.csv`.
"""

from __future__ import annotations

import difflib
import html
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import is_bool_dtype, is_numeric_dtype

_ROW = re.compile(r"<tr[^>]*>(.*?</tr>)", re.S)
LONG_WORD = re.compile(r"[^\s-]{41,}")  # may be broken, so that the columns after it stay in sight
CAPTION = '<caption style="text-align: left">'  # JupyterLab would centre it
BREAKABLE = "; overflow-wrap: anywhere; min-width: 12em"


class _Plain(yaml.SafeDumper):
    """YAML as people write it: no anchors, and a text of several lines as a block."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


class Shown:
    """An HTML fragment with its plain text; the last expression of a cell."""

    def __init__(self, markup: str, text: str) -> None:
        self._markup = markup
        self._text = text

    def _repr_html_(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        return self._text


def frame(rows: Iterable[Sequence[object]], *columns: str) -> pd.DataFrame:
    """Rows and the names of their columns as a DataFrame."""
    return pd.DataFrame([tuple(row) for row in rows], columns=list(columns))


def table(frame: pd.DataFrame, name: str = "", *, caption: str = "", index: bool = False) -> Shown:
    """A DataFrame as an accessible table (caption, headers with scope, numbers on the right); with a `name`
    it is kept as CSV too, and the name in words is the caption where none is given."""
    if name:
        _keep(frame, name, index=index)
        caption = caption or name.replace("-", " ").capitalize()
    if frame.empty and caption:
        caption += ": none"
    return Shown(_markup(frame, caption, index=index), f"{caption}\n{frame.to_string(index=index)}".strip())


def folded(shown: Shown, title: str) -> Shown:
    """Something shown, folded under a title."""
    summary = f"<summary>{html.escape(title)}</summary>"
    return Shown(f"<details>{summary}{shown._repr_html_()}</details>", f"{title}\n{shown!r}")


def side_by_side(tables: Mapping[str, pd.DataFrame], name: str = "") -> Shown:
    """Several tables next to each other where the page is wide enough, each under its title."""
    for title, frame in tables.items():
        if name:
            _keep(frame, f"{name}-{title}".replace(" ", "-").lower(), index=False)
    parts = [f'<div style="flex: 0 1 auto">{_markup(frame, title)}</div>' for title, frame in tables.items()]
    text = "\n\n".join(f"{title}\n{frame.to_string(index=False)}" for title, frame in tables.items())
    style = "display: flex; flex-wrap: wrap; gap: 1em 2em; align-items: flex-start"
    return Shown(f'<div style="{style}">{"".join(parts)}</div>', text)


def commands(text: str, *, title: str = "The same by hand") -> Shown:
    """A block of shell commands, folded; the text is shown as given, without its common indentation."""
    block = textwrap.dedent(text).strip()
    return Shown(_folded(title, block, ""), f"{title}:\n{block}")


def manifest(*objects: object, title: str = "The manifest") -> Shown:
    """Objects as the YAML that `kubectl apply -f -` takes; the values of Secrets are masked."""
    text = "---\n".join(
        yaml.dump(_masked(obj), Dumper=_Plain, sort_keys=False, allow_unicode=True) for obj in objects
    )
    return Shown(_folded(title, text, " open"), text)


def _folded(title: str, block: str, state: str) -> str:
    summary = f"<summary>{html.escape(title)}</summary>"
    return f"<details{state}>{summary}<pre><code>{html.escape(block)}</code></pre></details>"


def diff(before: str, after: str, *, names: tuple[str, str] = ("before", "after")) -> Shown:
    """A unified diff; says so when there is no difference."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))
    text = "\n".join(lines) or "no difference"
    marked = "\n".join(_diff_line(line) for line in text.splitlines())
    return Shown(
        f'<pre aria-label="difference between {names[0]} and {names[1]}"><code>{marked}</code></pre>', text
    )


def _diff_line(line: str) -> str:
    tag = {"+": "ins", "-": "del"}.get(line[:1])
    safe = html.escape(line)
    return f'<{tag} style="text-decoration: none">{safe}</{tag}>' if tag else safe


def _masked(obj: object) -> object:
    if isinstance(obj, dict) and obj.get("kind") == "Secret":
        hidden = {
            part: dict.fromkeys(obj[part], "(not shown)") for part in ("data", "stringData") if part in obj
        }
        return {**obj, **hidden}
    return obj


def _markup(frame: pd.DataFrame, caption: str, *, index: bool = False) -> str:
    own: dict[Any, Callable[[object], str]] = {
        name: _lines for name, column in frame.items() if any(map(_has_lines, column))
    }
    body = frame.to_html(index=index, border=0, na_rep="", max_rows=400, formatters=own)
    sides = ["left"] * (frame.index.nlevels if index else 0)
    numbers = [is_numeric_dtype(kind) and not is_bool_dtype(kind) for kind in frame.dtypes]
    sides += ["right" if number else "left" for number in numbers]
    head, tag, rows = body.partition("</thead>")
    body = "".join(
        _ROW.sub(partial(_aligned, scope, sides), part)
        for scope, part in (("col", head), ("row", tag + rows))
    )
    if caption:
        body = body.replace("<thead>", f"{CAPTION}{html.escape(caption)}</caption><thead>", 1)
    return body


def _has_lines(value: object) -> bool:
    return isinstance(value, str) and "\n" in value


def _lines(value: object) -> str:
    """Keeps line breaks, where pandas would write a backslash and an n."""
    return str(value)


def _aligned(scope: str, sides: list[str], row: re.Match[str]) -> str:
    """A table row whose cells say on which side they stand; JupyterLab would put them all on the right."""
    side = iter(sides)

    def cell(match: re.Match[str]) -> str:
        tag, text = match.groups()
        own = f' scope="{scope}"' if tag == "th" else ""
        text, long_words = LONG_WORD.subn(_with_breaks, text.strip())
        style = f"text-align: {next(side, 'left')}{BREAKABLE if long_words else ''}"
        return f'<{tag}{own} style="{style}">' + text.replace("\n", "<br>")

    return "<tr>" + re.sub(r"<(t[dh])>([^<]*)", cell, row[1])


def _with_breaks(word: re.Match[str]) -> str:
    """A long word that may go on in the next line after a full stop, colon, comma, slash or bar."""
    return re.sub(r"([.:,/|])(?=.)", r"\1<wbr>", word[0])


def _keep(frame: pd.DataFrame, name: str, *, index: bool) -> None:
    run_dir, step = os.environ.get("MESHLIB_RUN_DIR"), os.environ.get("MESHLIB_STEP")
    if not run_dir or not step:
        return
    folder = Path(run_dir) / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / f"{step}-{name}.csv", index=index)
