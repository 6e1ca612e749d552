"""The frame of every HTML page: templates, inlined style and script, how moments and durations read."""

from __future__ import annotations

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


FILTERS: dict[str, Callable[..., Any]] = {"moment": moment, "seconds": seconds}


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
