"""Tables as files, and what is refused before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from meshlib import export
from meshlib.errors import MeshlibError, ParameterError


def pieces() -> list[pd.DataFrame]:
    at = pd.to_datetime([1_700_000_000_000_001], unit="us", utc=True)
    return [
        pd.DataFrame(
            {"at": at, "kind": pd.Categorical(["a"]), "status": pd.array([200], "Int64"), "id": "x"}
        ),
        pd.DataFrame(
            {"at": at, "kind": pd.Categorical(["b"]), "status": pd.array([None], "Int64"), "id": ""}
        ),
    ]


def test_pieces_stand_one_below_the_other(tmp_path: Path) -> None:
    export.write(tmp_path / "a.csv", pieces())
    time = "2023-11-14 22:13:20.000001+00:00"
    assert (tmp_path / "a.csv").read_text() == f"at,kind,status,id\n{time},a,200,x\n{time},b,,\n"


def test_parquet_keeps_types_and_a_piece_is_a_row_group(tmp_path: Path) -> None:
    export.write(tmp_path / "a.parquet", pieces())
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 2
    found = file.read()
    assert found.column("kind").to_pylist() == ["a", "b"]
    assert found.column("status").to_pylist() == [200, None]
    assert str(found.schema.field("at").type) in ("timestamp[us, tz=UTC]", "timestamp[ns, tz=UTC]")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_a_file_that_cannot_be_written_is_refused_before(tmp_path: Path) -> None:
    for path, finding in (
        (tmp_path / "a.png", "ends in none of .csv, .parquet"),
        (tmp_path / "none" / "a.csv", "there is no folder"),
    ):
        with pytest.raises(ParameterError, match=finding):
            export.check(path)
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(ParameterError, match="is a folder"):
        export.check(tmp_path / "b.csv")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> list[pd.DataFrame]:
        raise OSError(28, "No space left on device")

    with pytest.raises(MeshlibError, match=r"cannot write .*a\.csv: No space left"):
        export.write(tmp_path / "a.csv", (piece for _ in range(1) for piece in broken()))
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from meshlib.cli import main\n"
        "sys.argv = ['meshlib', 'load', 'http://127.0.0.1:1/', '-n', '1', '--out', sys.argv[1]]; main()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "a.parquet")]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Parquet needs pyarrow, which is not installed" in run.stderr
    assert "pip install pyarrow" in run.stderr
