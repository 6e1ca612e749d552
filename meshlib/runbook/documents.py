"""The generated files of the repository; `python -m meshlib.runbook.documents` writes them."""

from __future__ import annotations

import json
from pathlib import Path

from meshlib.lab import support
from meshlib.runbook import notify, outcomes, record, tables


def generated() -> dict[str, str]:
    """Path in the repository → what it must contain."""
    files = {f"parameters/{name}.yaml": tables.yaml_file(name) for name in tables.FILES}
    files["docs/parameters.md"] = tables.markdown()
    files["docs/SUPPORT.md"] = support.page()
    files["docs/exit-codes.md"] = outcomes.exit_codes_page()
    files["docs/schemas/parameters.json"] = tables.json_schema()
    for kind in (record.Manifest, record.Results, notify.Notification):
        schema = json.dumps(record.json_schema(kind), indent=2, ensure_ascii=False) + "\n"
        files[f"docs/schemas/{kind.__name__.lower()}.json"] = schema
    return files


def write(root: Path) -> None:
    """Writes every generated file below `root`."""
    for name, text in generated().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
