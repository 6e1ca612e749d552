"""Tables as files, CSV or Parquet, piece by piece: what does not fit into memory can be written all the same.

Parquet needs pyarrow, an extra: it is 170 MB installed and adds 67 MB to every process that imports pandas,
which loads it wherever it finds it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from meshlib.errors import MeshlibError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET, JSON = ".csv", ".parquet", ".json"
EXTRA = "pip install pyarrow"


def check(path: Path, *, kinds: tuple[str, ...] = (CSV, PARQUET)) -> None:
    """Raise `ParameterError` when `path` cannot be written: to be called before the work, not after it."""
    if path.suffix not in kinds:
        raise ParameterError([f"out: {path} ends in none of {', '.join(kinds)}"])
    if path.suffix == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ParameterError([f"out: {path}: Parquet needs pyarrow, which is not installed"], fix=EXTRA)
    if path.is_dir():
        raise ParameterError([f"out: {path} is a folder"])
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ParameterError([f"out: there is no folder {folder}"], fix=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise ParameterError([f"out: {folder} cannot be written to"])


def write(path: Path, pieces: Iterable[pd.DataFrame]) -> None:
    """Write tables of the same columns one below the other, without their index.

    `.csv` has one head line; in `.parquet` a piece is a row group (zstd). The file appears when it is whole.
    Raises `ParameterError` for what `check` refuses and `MeshlibError` when the disk does.
    """
    check(path)
    with _whole(path) as part:
        (_parquet if path.suffix == PARQUET else _csv)(part, pieces)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file in the same way."""
    with _whole(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise MeshlibError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _csv(path: Path, pieces: Iterable[pd.DataFrame]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, piece in enumerate(pieces):
            piece.to_csv(file, index=False, header=number == 0)


def _parquet(path: Path, pieces: Iterable[pd.DataFrame]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.ExitStack() as stack:
        writer = None
        for piece in pieces:
            schema = None if writer is None else writer.schema
            table = pa.Table.from_pandas(piece, schema=schema, preserve_index=False)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)
