"""Each figure says in words what it shows, and carries its numbers."""

import pandas as pd
import pytest

from meshlib import charts

SPANS = pd.DataFrame(
    {
        "trace_id": ["t"] * 3,
        "span_id": ["a", "b", "c"],
        "parent_id": ["", "a", "b"],
        "service": ["gateway", "gateway", "server"],
        "operation": ["ingress", "egress", "inbound"],
        "start_us": [0, 1000, 2000],
        "duration_ms": [9.0, 7.0, 4.0],
    }
)


def test_waterfall_orders_by_depth() -> None:
    chart = charts.waterfall(SPANS.iloc[::-1])
    assert chart.data["depth"].tolist() == [0, 1, 2]
    assert chart.data["start (ms)"].tolist() == [0.0, 1.0, 2.0]
    assert "Waterfall of trace t: gateway ingress, 9.00 ms; then gateway egress, 7.00 ms" in chart.alt


def test_waterfall_indents_children() -> None:
    chart = charts.waterfall(SPANS)
    labels = chart.figure.axes[0].get_yticklabels()
    assert {label.get_horizontalalignment() for label in labels} == {"left"}
    spaces = [len(label.get_text()) - len(label.get_text().lstrip()) for label in labels]
    assert spaces == sorted(set(spaces))


def test_latencies_have_one_row_a_service() -> None:
    chart = charts.latencies(SPANS)
    assert chart.data["service"].tolist() == ["gateway", "server"]
    assert chart.data["spans"].tolist() == [2, 1]
    assert "server: median 4.00 ms" in chart.alt


def test_over_time_names_the_worst_slice() -> None:
    assert "8.98 ms, of gateway at 0.0 s" in charts.over_time(SPANS).alt


def test_stacked_bars_add_up() -> None:
    table = pd.DataFrame({"percentile": ["p50"], "gateway": [1.0], "server": [3.0]})
    chart = charts.stacked(table, ["gateway", "server"], label="percentile", title="Where", name="x")
    assert "p50: gateway 1.00 ms, server 3.00 ms" in chart.alt


def test_a_chart_shows_png_with_alt_text_and_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(
        [("at first", 2000, 0, 0.0, 0.0, 0.2)],
        columns=["Measurement", "Sent", "Traced", "Share (%)", "From (%)", "To (%)"],
    )
    chart = charts.shares(table)
    assert chart.png().startswith(b"\x89PNG")
    chart._ipython_display_()
    shown = capsys.readouterr().out
    assert "at first: 0 % of 2000" in shown
    assert "The figure's data as a table" in shown


def test_a_sweep_says_where_it_bends() -> None:
    table = pd.DataFrame({"Asked (1/s)": [100, 200], "p50 (ms)": [1.0, 2.0], "p99 (ms)": [2.0, 30.0]})
    chart = charts.sweep(table, rate="Asked (1/s)", lines=["p50 (ms)", "p99 (ms)"], bend=200)
    assert "200/s: p50 2.00 ms, p99 30.00 ms" in chart.alt
    assert chart.alt.endswith("It bends at 200 requests per second.")
    flat = charts.sweep(table, rate="Asked (1/s)", lines=["p50 (ms)"])
    assert flat.alt.endswith("It does not bend.")
