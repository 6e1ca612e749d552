"""Which regular expressions RE2 takes, compared with the RE2 in Envoy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from meshlib.lab.schema import re2
from tests.lab.istiod.translate.envoys import BINARY

TAKEN = [
    *("(?P<n>a)", "(?<n>a)", r"\pL", r"\p{Greek}", "(?i)a", "(?s).*", r"\d+", "a{3,}", r"\z", "a*?", "a+?b"),
    *("[+*?]+", r"\++", "[(?=]x", "/v[0-9]+/items", "(?:a|b)+", r"\\1", "x{2}?", "[[:alpha:]]+", r"\Qa.b\E"),
]
REFUSED = [
    *("[", "(?=a)b", r"(a)\1", "a{2,1}", "a++", "(?>a)", "a{1001}", "(?<=a)b", r"\Z", "(?x)a", "a**"),
    *("(?#c)a", "(?!a)b", "(", "*a", "(?P=n)"),
]


def envoy_takes(patterns: list[str], folder: Path) -> bool:
    """Whether Envoy takes a route table with all these patterns."""
    routes = [{"match": {"safe_regex": {"regex": p}}, "direct_response": {"status": 200}} for p in patterns]
    kind = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}},
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    file = folder / "envoy.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    command = [str(BINARY), "--mode", "validate", "-c", str(file), "-l", "off"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("pattern", TAKEN)
def test_taken(pattern: str) -> None:
    assert re2.refusal(pattern) is None


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused(pattern: str) -> None:
    assert re2.refusal(pattern)


@pytest.mark.lab
def test_envoy_is_of_the_same_opinion(tmp_path: Path) -> None:
    assert envoy_takes(TAKEN, tmp_path)
    assert [pattern for pattern in REFUSED if envoy_takes([pattern], tmp_path)] == []
