"""Which file holds which xDS resource: the one place that the writer and the bootstrap read.

<xds dir>/bootstrap.json      written by the kubelet first: it names the node, as a discovery request does
<xds dir>/lds.json cds.json   whole listener and cluster sets
<xds dir>/rds|sds/<name>.json   one resource a file; `<name>` is percent-encoded
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

Kind = Literal["rds", "eds", "sds"]

LONGEST = 200
"""Bytes of an encoded name that stay readable; file systems end at 255."""


def file_name(resource: str) -> str:
    """The file of a resource: `inbound|81||` → `inbound%7C81%7C%7C.json`; a long one ends in a hash."""
    encoded = quote(resource, safe="")
    if len(encoded) > LONGEST:
        encoded = f"{encoded[:LONGEST]}-{hashlib.sha256(resource.encode()).hexdigest()[:16]}"
    return f"{encoded}.json"


def config_source(xds_dir: str | Path, kind: Kind, resource: str) -> dict[str, Any]:
    """An Envoy ConfigSource that reads this resource's file, and again whenever a new one takes its place.

    Without `watched_directory` Envoy reacts to this very file only; with it, each of a thousand
    subscriptions would be read again when one file of the directory changes.
    """
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(Path(xds_dir) / kind / file_name(resource))},
    }


def top_source(xds_dir: str | Path, name: Literal["lds", "cds"]) -> dict[str, Any]:
    """The ConfigSource of the listener or cluster set."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(Path(xds_dir) / f"{name}.json")},
    }
