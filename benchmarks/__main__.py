"""`python -m benchmarks [load] [decode] [store] [api] [run] [--quick] [--out FILE]`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import api, decoding, loading, running, storing
from benchmarks.table import Row, machine, markdown

PARTS = ("load", "decode", "store", "api", "run")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--quick", is_flag=True, help="A tenth of the spans, one short round.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to this file as well.")
def main(parts: tuple[str, ...], quick: bool, out: Path | None) -> None:
    """Print a table of ratios against peers; peers that are not installed are named and skipped."""
    facts = machine()
    rows: list[Row] = []
    wanted = parts or PARTS
    if "load" in wanted:
        rows += loading.compare(1 if quick else 5, 1.0 if quick else 3.0)
    if "decode" in wanted:
        rows += decoding.compare(10_000 if quick else 100_000)
    if "store" in wanted:
        rows += storing.ingest(20_000 if quick else 200_000)
        rows += storing.search(100_000 if quick else 1_000_000)
    if "run" in wanted:
        rows += running.compare(3 if quick else 10, 1 if quick else 3)
    if "api" in wanted:
        rows += api.measure(1 if quick else 5, 50 if quick else 300)
    text = markdown(rows, facts)
    click.echo(text)
    if out is not None:
        out.write_text(text + "\n")


main()
