"""The outputs of a cell as they are kept: streams joined, overwritten lines gone, no secret, no megabytes."""

from __future__ import annotations

from typing import Any

from meshlib.runbook.masking import Masker

KEEP = 100_000  # characters kept at each end of a longer text


def tidy(outputs: list[Any], masker: Masker) -> list[Any]:
    """What to keep of a cell's outputs.

    Streams are joined before they are masked, because a secret may arrive in two pieces.  nbclient's own
    joining is not used: its patterns take minutes on one long line.
    """
    kept: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if output.output_type != "stream":
            kept.append(output)
        elif output.name in streams:
            streams[output.name]["text"] += output.text
        else:
            streams[output.name] = output
            kept.append(output)
    for output in streams.values():
        output["text"] = shortened("\n".join(map(_last_write, output["text"].split("\n"))))
    return [type(output)(masker.tree(output)) for output in kept]


def _last_write(line: str) -> str:
    """A progress bar returns to the start of its line again and again; only what it wrote last is seen."""
    return line.rstrip("\r").rpartition("\r")[2]


def shortened(text: str) -> str:
    """`text` with its middle left out if it is longer than two times `KEEP`."""
    if len(text) <= 2 * KEEP:
        return text
    return f"{text[:KEEP]}\n… {len(text) - 2 * KEEP} characters left out …\n{text[-KEEP:]}"
