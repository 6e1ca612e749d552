"""Make or update the virtual environment: once, even when two commands ask at the same time.

    python3 tools/environment.py .venv requirements.txt [requirements-dev.txt]

Does nothing when the environment already holds exactly these files' contents.  Needs only the
standard library, because it runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fingerprint(files: list[Path]) -> str:
    """What the environment was made from: the interpreter and the text of each file."""
    digest = hashlib.sha256(f"{sys.version}\n{ROOT}\n".encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def main(folder: str, *requirements: str) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  the reader of this message runs an older one
        sys.exit(
            f"meshlib needs Python 3.11 or newer; this is {sys.version.split()[0]}."
            " Try: make PYTHON=python3.11 run"
        )
    target = Path(folder).resolve()
    files = [(ROOT / name).resolve() for name in requirements]
    target.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = target / f".{files[-1].stem}"
        wanted = fingerprint([*files, ROOT / "pyproject.toml"])
        if stamp.is_file() and stamp.read_text() == wanted:
            return 0
        names = " and ".join(file.name for file in files)
        print(
            f"installing {names} into {folder} (about two minutes the first time)",
            flush=True,
        )
        if not (target / "bin" / "python").exists():
            venv.create(target, with_pip=True)
        pip = [
            str(target / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        chosen = [part for file in files for part in ("-r", str(file))]
        for command in ([*pip, *chosen], [*pip, "--no-deps", "--editable", str(ROOT)]):
            done = subprocess.run(command, check=False)
            if done.returncode:
                print(
                    f"could not install into {folder}; the command was:\n  {' '.join(command)}",
                    file=sys.stderr,
                )
                return done.returncode
        stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
