"""The table of parameters as documents: a page, a JSON schema, commented files of parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from meshlib.parameters import TABLE, Parameter, Value
from meshlib.runbook.record import SCHEMA

FILES: dict[str, tuple[str, Mapping[str, Value]]] = {
    "embedded": ("The embedded lab: nothing but this machine. Every value is the default.", {}),
    "kind": (
        "A kind cluster on this machine, with Istio installed by istioctl.",
        {
            "target": "kubeconfig",
            "context": "kind-meshlib",
            "confirm_context": "kind-meshlib",
            "install_method": "istioctl",
            "ingress_address": "127.0.0.1:8443",
            "timeout_s": 300.0,
        },
    ),
    "cluster": (
        "A real cluster that has Istio already, observed only. To let the runbook write, repeat the\n"
        "# context in confirm_context and set read_only to false.",
        {
            "target": "kubeconfig",
            "context": "my-cluster",
            "write_namespaces": "httpserver-istio,istio-system",
            "read_only": True,
            "install_method": "existing",
            "istio_profile": "default",
            "timeout_s": 300.0,
            "load_rate": 20.0,
            "webhook_url_env": "MESHLIB_WEBHOOK_URL",
        },
    ),
}


def _quoted(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def yaml_file(name: str = "embedded") -> str:
    """A complete, commented file of parameters; strings are quoted, so that YAML has nothing to guess."""
    intro, values = FILES[name]
    lines = [f"# {intro}", "# Parameters that are left out have their default; unknown ones are refused.", ""]
    for group, rows in groupby(TABLE.values(), key=lambda row: row.group):
        lines.append(f"# -- {group} " + "-" * (70 - len(group)))
        for row in rows:
            if row.name == "run_id":
                continue
            lines.append(f"# {row.help} ({row.accepts})")
            lines.append(f"{row.name}: {_quoted(values.get(row.name, row.default))}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def markdown() -> str:
    """docs/parameters.md."""
    lines = ["# Parameters", "", "<!-- Generated from meshlib/parameters.py; a test compares them. -->", ""]
    for group, rows in groupby(TABLE.values(), key=lambda row: row.group):
        lines += [f"## {group}", "", "| parameter | default | accepts | meaning |", "|---|---|---|---|"]
        for row in rows:
            secret = " (names a secret; its value is masked everywhere)" if row.secret else ""
            accepts = row.accepts.replace("|", "\\|")
            lines.append(f"| `{row.name}` | `{_quoted(row.default)}` | {accepts} | {row.help}{secret} |")
        lines.append("")
    return "\n".join(lines)


def _property(row: Parameter) -> dict[str, Any]:
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean"}
    schema: dict[str, Any] = {"type": kinds[row.type], "default": row.default, "description": row.help}
    extra = {
        "minimum": row.low,
        "maximum": row.high,
        "enum": list(row.choices) or None,
        "pattern": f"^(?:{row.pattern})$" if row.pattern else None,
    }
    return schema | {key: value for key, value in extra.items() if value is not None}


def json_schema() -> str:
    """docs/schemas/parameters.json: for editors that check a file of parameters while it is written."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{SCHEMA}:parameters",
        "title": "Parameters of a meshlib run",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _property(row) for name, row in TABLE.items()},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
