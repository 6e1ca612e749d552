"""`meshlib load`: the JSON contract, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from meshlib.errors import ParameterError
from meshlib.load import run as load_run
from meshlib.load.commands import load


def run(*args: str) -> Any:
    result = CliRunner().invoke(load, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_json_has_the_names_of_the_contract(server: Any) -> None:
    found = json.loads(run(server.url + "/", "--rate", "100", "--duration", "0.5", "--json").stdout)
    assert found["requests"] == 50
    assert found["statuses"] == {"200": 50}
    assert found["errors"] == {}
    assert found["requested_rate"] == 100
    assert 50 < found["achieved_rate"] < 115  # a busy machine may fall behind
    assert 0.4 < found["duration_s"] < 3
    assert found["cpu_s"] > 0
    assert list(found["latency_ms"]) == ["mean", "p50", "p90", "p99", "p99_9", "p99_99", "max"]


def test_a_mix_file_and_a_table_of_requests(server: Any, tmp_path: Path) -> None:
    mix = tmp_path / "mix.yaml"
    mix.write_text("- path: /a\n- {path: /b, method: POST, body: hello, headers: {x-a: b}, weight: 1}\n")
    out = tmp_path / "requests.csv"
    text = run(server.url, "--mix", str(mix), "--requests", "10", "--out", str(out)).stdout
    assert "status 200" in text
    assert len(out.read_text().splitlines()) == 11
    assert sum(head.startswith("POST /b") for head in server.heads) == 5


def test_requests_as_parquet_in_order_of_their_time(server: Any, tmp_path: Path) -> None:
    out = tmp_path / "requests.parquet"
    run(server.url + "/", "--requests", "400", "--workers", "2", "--trace", "w3c", "--out", str(out))
    found = pd.read_parquet(out)
    assert len(found) == 400
    assert found["intended_s"].is_monotonic_increasing
    assert set(found["worker"]) == {0, 1}
    assert found["trace_id"].nunique() == 400
    assert set(found["status"]) == {200}


def test_pieces_of_a_run_make_up_its_table(server: Any) -> None:
    result = load_run(server.url + "/", requests=50, workers=2)
    pieces = [*result.pieces(20)]
    assert [len(piece) for piece in pieces] == [20, 20, 10]
    whole = pd.concat(pieces, ignore_index=True)
    assert whole["intended_s"].tolist() == result.requests["intended_s"].tolist()


def test_what_is_wrong_is_refused(server: Any, tmp_path: Path) -> None:
    for args, finding in (
        (["--data", "@/no/body"], "data: cannot read /no/body"),
        (["--rate", "0"], "rate: 0"),
        (["--steps", "fast"], "steps: 'fast'"),
        (["--mix", "/no/mix"], "mix: /no/mix"),
        (["--out", "x.png"], "out: x.png"),
        (["--out", "/no/folder/x.csv"], "out: there is no folder /no/folder"),
        (["--requests", "0"], "requests: 0"),
        (["--rate", "nan"], "rate: nan"),
        (["--resolve", "a.test:80:b.test"], "with an IP address"),
        (["--resolve", "a.test:80:127.0.0.1,nowhere"], "with an IP address"),
        (["--header", "nocolon"], "header: 'nocolon'"),
        (["--job", "2", "--out", "x.csv"], "send back numbers"),
        (["--job", "2", "--workers", "2"], "job, workers"),
    ):
        with pytest.raises(ParameterError, match=finding.replace("(", ".")):
            run(server.url + "/", *args)
    for url, finding in (("nonsense", "url: 'nonsense'"), (server.url + "/a b", "has a blank")):
        with pytest.raises(ParameterError, match=finding):
            run(url, "-n", "1")
    assert run(server.url + "/", "--http", "3").exit_code == 2
    assert server.heads == []
