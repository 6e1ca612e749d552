"""YAML from callers: read only after it was seen to be neither too deep nor much larger than its text."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 500
MAX_GROWTH = 10  # characters that aliases may make of one; more is a bomb, not a document
_ROOM = 100_000  # what a small text may grow to all the same
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str | bytes) -> Any:
    """The one document of `text`.  Raises yaml.YAMLError, also for what is too deep or grows too much.

    libyaml's loader recurses in C: what is too deep would end the process.
    """
    _check(text)
    return yaml.load(text, Loader=_LOADER)


def _check(text: str | bytes) -> None:
    limit = _ROOM + MAX_GROWTH * len(text)
    sizes, open_anchors = [0], list[str | None]()
    known: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            open_anchors.append(event.anchor)
            if len(sizes) > MAX_DEPTH:
                raise yaml.YAMLError("exceeded max depth")
            continue
        if isinstance(event, yaml.AliasEvent):
            size, anchor = known.get(event.anchor or "", 0), None
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1 + len(event.value), event.anchor
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), open_anchors.pop()
        else:
            continue
        if anchor is not None:
            known[anchor] = size
        sizes[-1] += size
        if sizes[-1] > limit:
            raise yaml.YAMLError("document contains excessive aliasing")
