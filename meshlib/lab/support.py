"""What the embedded lab supports, as one page generated from the tables that the lab itself runs on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import yaml

from meshlib.lab.api.kind_table import KINDS
from meshlib.lab.api.kinds import Kind
from meshlib.lab.istiod.minors import MINORS, Minor
from meshlib.lab.kubelet.images import IMAGES
from meshlib.lab.schema.unsupported import gaps


def page() -> str:
    """The text of `docs/SUPPORT.md`."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "<!-- Generated from the lab's tables by `python -m meshlib.runbook.documents`; do not edit. -->"
    yield "# What the embedded lab supports"
    yield ""
    yield "The lab refuses what it cannot honour, in the form in which a real cluster refuses. This page"
    yield "lists what it serves and what it lacks; a real cluster (`target: kubeconfig`) has no such limits."
    yield ""
    yield "## Kinds"
    yield ""
    yield "A kind that is *refused* can be read, but not created; the API server answers the reason."
    yield ""
    yield from table(("group", "kind", "versions", "subresources", "refused, and why"), map(_kind, KINDS))
    yield ""
    yield "## Fields of Istio's objects that are refused"
    yield ""
    yield "The lab's istiod denies an object that sets one, through its webhook (`validation.istio.io`)."
    yield ""
    rows = (
        (gap.kind, "the whole kind" if gap.path == "*" else f"`{gap.path}`", gap.reason) for gap in gaps()
    )
    yield from table(("kind", "field", "reason"), rows)
    yield ""
    yield "## Images"
    yield ""
    yield "A pod's container is a process. An image's repository decides which program; registry host and"
    yield "tag play no part. `meshlib lab up --images FILE` adds rows. Others end in `ImagePullBackOff`."
    yield ""
    yield from table(
        ("image repository", "program"), ((f"`{name}`", program) for name, program in IMAGES.items())
    )
    yield ""
    yield "## Istio minors"
    yield ""
    yield "The tag of the istiod image decides which minor the lab behaves like."
    yield ""
    names = [each.name for each in fields(Minor) if each.name != "number"]
    yield from table(("minor", *names), (_minor(row, names) for row in MINORS.values()))
    yield ""
    yield "## Other differences"
    yield ""
    yield from table(("what", "in the lab", "because"), _differences())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table; bars inside of cells are escaped."""
    columns = tuple(head)
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _kind(kind: Kind) -> tuple[str, ...]:
    parts = ", ".join(each.name for each in kind.subresources)
    return (kind.group or "core", kind.kind, ", ".join(kind.versions), parts, kind.refusal)


def _minor(row: Minor, names: list[str]) -> tuple[str, ...]:
    values = (getattr(row, name) for name in names)
    return (f"1.{row.number}", *("yes" if v is True else "no" if v is False else f"`{v}`" for v in values))


def _differences() -> list[tuple[str, str, str]]:
    rows = yaml.safe_load(Path(__file__).with_name("differences.yaml").read_text(encoding="utf-8"))
    return [(row["what"], row["lab"], row["because"]) for row in rows]
