"""Runs the notebooks and keeps the record: parameters, runner, manifest, reports, history, schedules."""

import sys

# jsonschema, which nbformat imports, would build this package's grammar of IRIs: 3.6 s of CPU that no
# notebook needs.  It does without where the package is missing.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
