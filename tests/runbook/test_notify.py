"""The webhook gets the documented body; one that fails is said and changes no exit code."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_body_is_as_documented_and_so_are_manifest_and_results(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/s3cr3t-path")
    check = "from meshlib import checkpoint\ncheckpoint.check('a', 1, 2)\ncheckpoint.verdict()"
    result = bench.run_cells(check, overrides=["webhook_url_env=HOOK"])
    server.shutdown()
    server.server_close()
    told = json.loads(bodies[0])
    assert (told["outcome"], told["exit_code"], told["steps_failed"]) == ("check-failed", 4, ["00_only"])
    assert "1 of 1 checks failed: a" in told["text"]
    assert "s3cr3t" not in result.everything()
    for name, document in (
        ("notification", told),
        ("manifest", json.loads((result.folder / "manifest.json").read_text())),
        ("results", json.loads((result.folder / "results.json").read_text())),
    ):
        jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text()))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/hook", "http://127.0.0.1:nine/hook", "ftp://x", ""])
def test_a_webhook_that_is_not_there(bench: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HOOK", url)
    result = bench.run_cells("1", overrides=["webhook_url_env=HOOK"])
    assert result.code == 0
    assert "$HOOK" in result.manifest.findings[0]
