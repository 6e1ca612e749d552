"""The frame of every HTML page: templates, inlined style and script, how moments and durations read."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@cache
def assets() -> dict[str, Markup]:
    """Style and script as text that goes into each page; nothing is loaded from anywhere."""
    return {
        kind: Markup((TEMPLATES / f"report.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js")
    }


def moment(text: str) -> str:
    """`2026-11-23 03:12:47 UTC` from RFC 3339."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC" if text else ""


def seconds(value: float) -> str:
    """`0.4 s`, `12.3 s`, `2 min 5 s`."""
    if value < 90:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def coded(text: str) -> Markup:
    """Escaped text in which what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def short(text: str, width: int = 240) -> str:
    """The beginning of a long text, cut between words."""
    return textwrap.shorten(text, width, placeholder=" …")


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "seconds": seconds,
    "coded": coded,
    "short": short,
}


@cache
def environment() -> jinja2.Environment:
    """Templates for the pages that are not notebooks; everything is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["assets"] = assets()
    return made


def render(template: str, **values: Any) -> str:
    """One page."""
    return environment().get_template(template).render(**values)
