"""Files of CA certificates: written once, where nobody else can change them, and not for ever."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from meshlib import tls, trust

PEM = tls.authority("lab CA", 30).certificate


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"meshlib-{os.geteuid()}"


def test_a_file_is_written_once(folder: Path) -> None:
    path = trust.trust_file(PEM)
    first = path.stat().st_mtime_ns
    assert trust.trust_file(PEM) == path
    assert path.stat().st_mtime_ns == first
    assert (path.read_text(), path.parent) == (PEM, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_was_changed_is_written_again() -> None:
    path = trust.trust_file(PEM)
    path.write_text("another CA")
    assert trust.trust_file(PEM).read_text() == PEM


@pytest.mark.parametrize("how", ["open to others", "a link", "a file"])
def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path, folder: Path, how: str) -> None:
    if how == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.touch()
    path = trust.trust_file(PEM)
    assert path.read_text() == PEM
    assert path.parent not in (folder, tmp_path / "elsewhere")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_written_long_ago_goes() -> None:
    old = trust.trust_file(PEM)
    long_ago = time.time() - trust.FORGOTTEN_S - 60
    os.utime(old, (long_ago, long_ago))
    new = trust.trust_file(tls.authority("another CA", 30).certificate)
    assert list(new.parent.iterdir()) == [new]
