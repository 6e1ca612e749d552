"""Line charts over runs as inline SVG in the page's colours; each comes with its numbers in words."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 190, 48, 12, 14, 26
STROKES = ("", "6 3", "2 3")  # lines differ by dash, not only by colour
COLOURS = ("var(--accent)", "var(--warn)", "var(--bad)")


@dataclass(frozen=True)
class Chart:
    """An SVG with its title and a sentence with the newest values."""

    title: str
    svg: Markup
    words: str


def ticks(top: float) -> list[float]:
    """Three to six round values from 0 to at least `top`."""
    if top <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(top))
    for factor in (0.2, 0.25, 0.5, 1, 2):
        if top / (step * factor) <= 5:
            step *= factor
            break
    count = int(-(-top // step))
    return [round(step * n, 10) for n in range(count + 1)]


def chart(
    title: str, unit: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]]
) -> Chart:
    """A chart of one or more series over the same runs; a missing value breaks the line."""
    there = {name: values for name, values in series.items() if any(v is not None for v in values)}
    scale = ticks(max((v for values in there.values() for v in values if v is not None), default=1.0))
    top = scale[-1]

    def x(n: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (n / (len(labels) - 1) if len(labels) > 1 else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    words = _words(unit, there)
    right, bottom = WIDTH - RIGHT, HEIGHT - 6
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(f"{title}: {words}")}">'
    ]
    for value in scale:
        parts.append(_line(LEFT, right, y(value), "var(--line)"))
        parts.append(_text(LEFT - 6, y(value) + 4, f"{value:g}", "end"))
    for number, (name, values) in enumerate(there.items()):
        colour, dash = COLOURS[number % 3], STROKES[number % 3]
        known = [(labels[n], x(n), y(v), v) for n, v in enumerate(values) if v is not None]
        path = " ".join(f"{px:.1f},{py:.1f}" for _, px, py, _ in known)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{path}" {style}/>')
        for label, px, py, v in known:
            tip = html.escape(f"{label} {name} {v:.4g} {unit}")
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"><title>{tip}</title></circle>'
            )
        if len(there) > 1:
            at = LEFT + 6 + 90 * number
            parts += [_line(at, at + 24, 8, colour, dash), _text(at + 28, 12, _short(name))]
    if labels:
        parts.append(_text(LEFT, bottom, labels[0]))
    if len(labels) > 1:
        parts.append(_text(right, bottom, labels[-1], "end"))
    return Chart(title, Markup("".join(parts) + "</svg>"), words)


def _line(x1: float, x2: float, y: float, colour: str, dash: str = "") -> str:
    where = f'x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line {where} stroke="{colour}" stroke-width="{2 if dash else 1}" stroke-dasharray="{dash}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    style = 'font-size="11" fill="var(--soft)"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{html.escape(text)}</text>'


def _short(name: str) -> str:
    return name.rpartition("_")[0]


def _words(unit: str, series: Mapping[str, Sequence[float | None]]) -> str:
    newest = []
    for name, values in series.items():
        known = [v for v in values if v is not None]
        span = f"lowest {min(known):.4g}, highest {max(known):.4g}"
        newest.append(f"{_short(name)} {known[-1]:.4g} {unit} ({span})")
    return "newest: " + ", ".join(newest)
