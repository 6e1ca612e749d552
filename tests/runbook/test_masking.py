"""Secrets are seeded into every place that a run writes from, and must be in none of the files."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib.runbook.masking import MASK, Masker

KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    .decode()
)
TOKEN = (
    "eyJhbGciOiJSUzI1NiJ9." + "eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ" + ".c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
)
URL = "https://hooks.example.org/services/T000/s3cr3t-path"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        (f"key:\n{KEY}rest", KEY.splitlines()[1]),
        (base64.b64encode(KEY.encode()).decode(), base64.b64encode(KEY.encode()).decode()[40:80]),
        ("\n".join(KEY.splitlines()[1:]), KEY.splitlines()[1]),
        (f"token={TOKEN};", TOKEN[-20:]),
        ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789abcdef"),
        (f"POST {URL}", "s3cr3t"),
        ("GET https://ann:s3cr3t-pw@mirror.example.org/x", "s3cr3t-pw"),
        ("{'url': 'http://:s3cr3t-pw@proxy:3128'}", "s3cr3t-pw"),
        ("q=https%3A%2F%2Fhooks.example.org%2Fservices%2FT000%2Fs3cr3t-path", "s3cr3t"),
    ],
)
def test_a_secret_is_masked(text: str, gone: str) -> None:
    masked = Masker([URL]).text(text)
    assert gone not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU").decode(),
        "basic understanding of bearer tokens",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "20261123T032635Z-144650",
        "https://example.org:443/a and ann@example.org",
        '{"url": "https://example.org/", "mail": "a:b@c"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Masker([URL, "abc"]).text(text) == text


def test_no_file_of_a_run_holds_a_secret(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", URL)
    seeded = (
        f"import sys, json, os, pathlib\nkey = {KEY!r}\ntoken = {TOKEN!r}\n"
        "run = pathlib.Path(os.environ['MESHLIB_RUN_DIR'])\n"
        "half = len(key) // 2\nsys.stdout.write(key[:half]); sys.stdout.flush()\n"
        "sys.stdout.write(key[half:])\n"
        "print(token, file=sys.stderr)\nprint(os.environ['HOOK'])\n"
        "(run / 'tables' / '00_only-x.csv').write_text('a,' + token)\n"
        "line = {'step': '00_only', 'name': 'c', 'expected': token, 'observed': key}\n"
        "line['verdict'] = 'pass'\n"
        "(run / 'checks' / '00_only.jsonl').write_text(json.dumps(line))\n"
        "os.write(1, token.encode())"
    )
    error = "display(dict(key=key))\nraise ValueError(token + os.environ['HOOK'])"
    result = bench.run_cells(seeded, "key", error, overrides=["webhook_url_env=HOOK"], html=True)
    assert result.manifest.outcome == "failed"
    assert len(list(result.folder.rglob("*.html"))) == 3
    everything = result.everything()
    for secret in (*KEY.splitlines()[1:3], TOKEN, TOKEN[-20:], "s3cr3t"):
        assert secret not in everything
    assert everything.count(MASK) > 6


def test_a_password_in_a_parameter_is_refused_and_shown_nowhere(bench: Any) -> None:
    mirror = "istio_mirror=https://ann:s3cr3t-pw@mirror.example.org"
    result = bench.run_cells("1", overrides=[mirror], html=True)
    assert result.manifest.outcome == "bad-parameters"
    assert "istio_mirror" in result.everything()
    assert "s3cr3t-pw" not in result.everything()
