"""CA certificates as files, for clients that take only a path."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from pathlib import Path

from meshlib import tls

FORGOTTEN_S = 30 * 86_400  # how long a file stays after it was written


def trust_file(pem: str) -> Path:
    """The file of a CA certificate (PEM), in a folder that nobody else can write to; written once."""
    path = _own_folder() / f"ca-{tls.fingerprint(pem).replace(':', '')[:32].lower()}.pem"
    if not path.is_file() or path.read_text() != pem:
        for old in path.parent.glob("ca-*.pem"):
            if time.time() - old.stat().st_mtime > FORGOTTEN_S:
                old.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(pem)
        Path(file.name).replace(path)
    return path


def _own_folder() -> Path:
    """This user's folder below the temporary one; a fresh one where its name is taken by somebody else."""
    path = Path(tempfile.gettempdir()) / f"meshlib-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="meshlib-"))
