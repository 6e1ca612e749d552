"""Figures for notebooks: each has alt text that says what it shows, and its data as a table below it.

Colours are Okabe and Ito's, which people with any kind of colour vision can tell apart; lines differ in
style, too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from meshlib import show

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
DPI = 110
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Chart:
    """A figure with its alternative text and its data; the last expression of a cell."""

    figure: Figure = field(repr=False)
    alt: str
    data: pd.DataFrame = field(repr=False)
    name: str = ""

    def png(self) -> bytes:
        """The figure as PNG."""
        target = io.BytesIO()
        self.figure.savefig(target, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")
        return target.getvalue()

    def _ipython_display_(self) -> None:
        bundle = {"image/png": self.png(), "text/plain": self.alt}
        display(bundle, metadata={"image/png": {"alt": self.alt}}, raw=True)
        display(show.folded(show.table(self.data, self.name), "The figure's data as a table"))


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.grid(visible=True, color="#dddddd", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _plain_ticks(axis: Axis) -> None:
    """Ticks of a log scale in plain numbers, at 1, 2 and 5 of a decade where it spans few of them."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=20))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def shares(table: pd.DataFrame, *, what: str = "traced requests") -> Chart:
    """Measured shares of `what` with their intervals; takes the table of `sampling.table` or
    `canary.table`."""
    figure, (axes,) = _figure(7, 0.7 + 0.5 * len(table))
    places = np.arange(len(table))[::-1]
    low, high = table["Share (%)"] - table["From (%)"], table["To (%)"] - table["Share (%)"]
    spread = np.clip(np.vstack([low, high]), 0, None)
    axes.errorbar(table["Share (%)"], places, xerr=spread, fmt="o", color=COLOURS[0], capsize=4)
    axes.set_yticks(places, table["Measurement"])
    for place, row in zip(places, table.itertuples(index=False), strict=True):
        axes.annotate(
            f"{row[3]:g} %", (row[3], place), xytext=(0, 7), textcoords="offset points", ha="center"
        )
    axes.set_xlim(-6, 106)
    axes.set_ylim(-0.5, len(table) - 0.3)
    axes.set_xlabel(f"{what} (%), with 95 % interval")
    parts = [f"{row[0]}: {row[3]:g} % of {row[1]}" for row in table.itertuples(index=False)]
    return Chart(figure, f"Measured share of {what}. {'; '.join(parts)}.", table, "figure-shares")


def latencies(spans: pd.DataFrame, *, by: str = "service", what: str = "spans") -> Chart:
    """Histogram and cumulative distribution of `duration_ms`, one line for each of `by`, log scale; `what` is
    what the rows are."""
    figure, (left, right) = _figure(10, 3.6, columns=2)
    rows = []
    whole = spans["duration_ms"].clip(lower=0.01)
    edges = np.geomspace(whole.min(), max(whole.max(), whole.min() * 1.01), 40)
    for number, (name, group) in enumerate(spans.groupby(by, observed=True)):
        values = np.sort(group["duration_ms"].clip(lower=0.01).to_numpy())
        look: dict[str, Any] = {"color": COLOURS[number % 7], "linestyle": STYLES[number % 4]}
        left.hist(values, bins=list(edges), histtype="step", linewidth=1.6, label=str(name), **look)
        right.plot(
            values, np.arange(1, len(values) + 1) / len(values), linewidth=1.6, label=str(name), **look
        )
        rows.append(
            (str(name), len(values), *(float(np.quantile(values, q)) for q in QUANTILES), float(values[-1]))
        )
    for axes, title in ((left, what), (right, f"share of {what} not slower")):
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        axes.set_xlabel("duration (ms)")
        axes.set_ylabel(title)
    figure.legend(
        *left.get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside lower center"
    )
    columns = [by, what, *(f"p{100 * q:g} (ms)" for q in QUANTILES), "max (ms)"]
    data = pd.DataFrame(rows, columns=columns).round(3)
    parts = [f"{row[0]}: median {row[2]:.2f} ms, 99th percentile {row[5]:.2f} ms" for row in rows]
    return Chart(
        figure,
        f"Histogram and cumulative distribution of the durations of {what}. {'; '.join(parts)}.",
        data,
        "figure-latencies",
    )


def over_time(spans: pd.DataFrame, *, by: str = "service", bins: int = 40) -> Chart:
    """Median and 99th percentile of span durations in equal slices of time, one pair of lines a service."""
    figure, (axes,) = _figure(10, 3.4)
    seconds = (spans["start_us"] - spans["start_us"].min()) / 1e6
    width_s = max(float(seconds.max()) / bins, 0.05)
    sliced = spans.assign(at_s=(seconds // width_s) * width_s)
    grouped = sliced.groupby([by, "at_s"], observed=True)["duration_ms"]
    data = grouped.quantile(np.array([0.5, 0.99])).unstack().reset_index()
    data.columns = pd.Index([by, "since start (s)", "p50 (ms)", "p99 (ms)"])
    for number, (name, group) in enumerate(data.groupby(by, observed=True)):
        colour = COLOURS[number % 7]
        axes.plot(group["since start (s)"], group["p50 (ms)"], color=colour, label=f"{name}, median")
        axes.plot(
            group["since start (s)"], group["p99 (ms)"], color=colour, linestyle="--", label=f"{name}, p99"
        )
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("seconds since the first span")
    axes.set_ylabel("duration (ms)")
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    worst = data.nlargest(1, "p99 (ms)").iloc[0]
    alt = (
        f"Span durations over {float(seconds.max()):.1f} seconds. The highest 99th percentile of a slice is "
        f"{worst['p99 (ms)']:.2f} ms, of {worst[by]} at {worst['since start (s)']:.1f} s."
    )
    return Chart(figure, alt, data.round(3), "figure-over-time")


def waterfall(spans: pd.DataFrame) -> Chart:
    """The spans of one trace as bars in time, parents above children."""
    rows = _by_depth(spans)
    figure, (axes,) = _figure(10, 0.9 + 0.45 * len(rows))
    begin_us = min(row[3] for row in rows)
    services = list(dict.fromkeys(row[1] for row in rows))
    for place, (_, service, operation, start_us, duration_ms) in enumerate(rows):
        offset_ms = (start_us - begin_us) / 1e3
        colour = COLOURS[services.index(service) % 7]
        axes.barh(-place, max(duration_ms, 0.01), left=offset_ms, height=0.55, color=colour)
        axes.annotate(
            f" {operation}  {duration_ms:.2f} ms", (offset_ms + duration_ms, -place), va="center", fontsize=8
        )
    axes.set_yticks(
        [-place for place in range(len(rows))], ["    " * row[0] + row[1] for row in rows], fontsize=8
    )
    _labels_on_the_left(axes)
    axes.set_xlabel("milliseconds since the first span began")
    axes.margins(x=0.45)
    axes.set_xlim(left=0)
    columns = ["depth", "service", "operation", "start (ms)", "duration (ms)"]
    data = pd.DataFrame(
        [(d, s, o, (u - begin_us) / 1e3, m) for d, s, o, u, m in rows], columns=columns
    ).round(3)
    parts = [f"{s} {o}, {m:.2f} ms" for _, s, o, _, m in rows]
    trace = spans["trace_id"].iloc[0]
    return Chart(figure, f"Waterfall of trace {trace}: {'; then '.join(parts)}.", data, "figure-waterfall")


def _labels_on_the_left(axes: Axes) -> None:
    """Lets the labels of the y axis begin in one line, so that what is indented shows."""
    labels = axes.get_yticklabels()
    widest = max(label.get_window_extent().width for label in labels)
    axes.tick_params(axis="y", pad=4 + widest * 72 / axes.figure.dpi)
    for label in labels:
        label.set_horizontalalignment("left")


def _by_depth(spans: pd.DataFrame) -> list[tuple[int, str, str, int, float]]:
    columns = ["span_id", "parent_id", "service", "operation", "start_us", "duration_ms"]
    spans = spans.sort_values("start_us", kind="stable")
    listed = spans[columns].astype({"service": str, "operation": str}).to_numpy().tolist()
    known = {row[0] for row in listed}
    children: dict[str, list[list[Any]]] = {}
    for row in listed:
        children.setdefault(row[1] if row[1] in known else "", []).append(row)
    found: list[tuple[int, str, str, int, float]] = []

    def walk(parent: str, depth: int) -> None:
        for span_id, _, service, operation, start_us, duration_ms in children.get(parent, []):
            found.append((depth, service, operation, int(start_us), float(duration_ms)))
            walk(span_id, depth + 1)

    walk("", 0)
    return found


def stacked(table: pd.DataFrame, parts: Sequence[str], *, label: str, title: str, name: str) -> Chart:
    """Horizontal bars of `parts` (ms) that add up, one bar a row of `table`, named by the column `label`."""
    figure, (axes,) = _figure(10, 1.0 + 0.5 * len(table))
    left = np.zeros(len(table))
    places = np.arange(len(table))[::-1]
    hatches = ("", "//", "..", "xx", "\\\\", "++", "oo")
    for number, part in enumerate(parts):
        values = table[part].to_numpy(dtype=float)
        look: dict[str, Any] = {
            "color": COLOURS[number % 7],
            "hatch": hatches[number % 7],
            "edgecolor": "white",
        }
        axes.barh(places, values, left=left, height=0.6, label=part, **look)
        left += values
    axes.set_yticks(places, [str(each) for each in table[label]])
    axes.set_xlabel("milliseconds")
    axes.set_title(title, loc="left", fontsize=10)
    figure.legend(frameon=False, fontsize=8, ncols=len(parts), loc="outside lower center")
    bars = [
        f"{row[label]}: " + ", ".join(f"{part} {row[part]:.2f} ms" for part in parts)
        for row in table.to_dict("records")
    ]
    return Chart(figure, f"{title}. {'; '.join(bars)}.", table[[label, *parts]].round(3), name)


def sweep(table: pd.DataFrame, *, rate: str, lines: Sequence[str], bend: float = 0) -> Chart:
    """Latencies (the columns `lines`, ms, log scale) against the column `rate` (requests/s); a mark where
    the curve bends."""
    figure, (axes,) = _figure(10, 3.6)
    markers = ("o", "s", "^", "D")
    for number, name in enumerate(lines):
        look: dict[str, Any] = {"color": COLOURS[number % 7], "linestyle": STYLES[number % 4]}
        axes.plot(table[rate], table[name].clip(lower=0.01), marker=markers[number % 4], label=name, **look)
    if bend:
        axes.axvline(bend, color="#555555", linewidth=1, linestyle=":", label=f"bends at {bend:,.0f}/s")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"requests/s, {rate.split(' (')[0].lower()}")
    axes.set_ylabel("latency (ms)")
    figure.legend(frameon=False, fontsize=8, ncols=len(lines) + 1, loc="outside lower center")
    points = [
        f"{row[rate]:,.0f}/s: " + ", ".join(f"{name.split(' (')[0]} {row[name]:.2f} ms" for name in lines)
        for row in table.to_dict("records")
    ]
    where = f" It bends at {bend:,.0f} requests per second." if bend else " It does not bend."
    return Chart(figure, f"Latency against the rate. {'; '.join(points)}.{where}", table, "figure-sweep")
