"""Which Istio runs on which Kubernetes: a dated table, and what it says about a pair of versions.

The table is edited by its publisher after releases, so it has an as-of date and knows nothing about later
minors.  Sources: Istio's support-status data, the end-of-life dates published with it, and `MinK8SVersion` in
the install code of each minor.
"""

from __future__ import annotations

import calendar
import datetime
import re
from dataclasses import dataclass

import pandas as pd

from meshlib.errors import ParameterError

AS_OF = datetime.date(2026, 10, 1)

# minor, released, end of life (~: announced for that month), supported Kubernetes minors, merely tested ones,
# the minimum that the installer asks for
ROWS = """
17  2023-02-14  2023-10-27  23-26  16-22  23
18  2023-06-03  2024-01-04  24-27  20-23  24
19  2023-09-05  2024-04-24  25-28  21-24  25
20  2023-11-14  2024-06-25  25-29  23-24  25
21  2024-03-13  2024-09-27  26-29  23-25  26
22  2024-05-13  2025-01-22  27-30  23-26  26
23  2024-08-14  2025-04-16  27-30  23-26  26
24  2024-11-07  2025-06-24  28-31  23-27  28
25  2025-03-03  2025-09-30  29-32  24-28  29
26  2025-05-08  2025-12-22  29-33  24-28  29
27  2025-08-11  2026-04-07  29-33  24-28  29
28  2025-11-05  2026-07-01  30-34  25-29  30
29  2026-02-16  2026-10-12  31-35  26-30  30
30  2026-05-18  ~2026-11   32-36  27-31  32
31  2026-08-20  ~2027-02   32-37  27-31  32
"""


@dataclass(frozen=True)
class Minor:
    """One row: what an Istio minor says about Kubernetes minors (inclusive ranges)."""

    minor: int
    released: datetime.date
    end_of_life: str
    supported: tuple[int, int]
    tested: tuple[int, int]
    installer_minimum: int

    @property
    def last_day(self) -> datetime.date:
        """The last day with fixes; the month's last where only the month is announced."""
        if not self.end_of_life.startswith("~"):
            return datetime.date.fromisoformat(self.end_of_life)
        year, month = map(int, self.end_of_life[1:].split("-"))
        return datetime.date(year, month, calendar.monthrange(year, month)[1])


def _row(line: str) -> Minor:
    minor, released, ended, supported, tested, minimum = line.split()

    def pair(text: str) -> tuple[int, int]:
        low, _, high = text.partition("-")
        return int(low), int(high)

    release = datetime.date.fromisoformat(released)
    return Minor(int(minor), release, ended, pair(supported), pair(tested), int(minimum))


MATRIX = {row.minor: row for row in map(_row, ROWS.strip().splitlines())}


def minor(version: str) -> int:
    """The minor of `1.30.5`, `v1.36.2+k3s1` or `1.30`.  Raises `ParameterError` for anything else."""
    found = re.match(r"v?1\.(\d+)", version)
    if not found:
        raise ParameterError([f"{version!r} is not a version 1.x"])
    return int(found[1])


def known(version: str) -> bool:
    """Whether the matrix has a row for the minor of this version; False too for what is no version."""
    found = re.match(r"v?1\.(\d+)", version)
    return found is not None and int(found[1]) in MATRIX


def table() -> pd.DataFrame:
    """The whole matrix, newest first."""
    rows = [
        (
            f"1.{row.minor}",
            row.released.isoformat(),
            row.end_of_life,
            f"1.{row.supported[0]} to 1.{row.supported[1]}",
            f"1.{row.tested[0]} to 1.{row.tested[1]}",
            f"1.{row.installer_minimum}",
        )
        for row in reversed(MATRIX.values())
    ]
    columns = [
        "Istio",
        "Released",
        "End of life",
        "Supported Kubernetes",
        "Tested only",
        "Installer asks for",
    ]
    return pd.DataFrame(rows, columns=columns)


def verdict(istio: str, kubernetes: str) -> str:
    """`supported`, `tested, not supported`, `too old`, `too new` or `unknown` for a pair of versions."""
    row, asked = MATRIX.get(minor(istio)), minor(kubernetes)
    if row is None:
        return "unknown"
    if row.supported[0] <= asked <= row.supported[1]:
        return "supported"
    if row.tested[0] <= asked <= row.tested[1]:
        return "tested, not supported"
    return "too old" if asked < row.supported[0] else "too new"


def warnings(istio: str, kubernetes: str, today: datetime.date | None = None) -> list[str]:
    """What a user should know before installing `istio` on `kubernetes`; empty when nothing speaks against
    it.

    The first line is the one that `istioctl install` prints, and it goes on after it.
    """
    row, asked = MATRIX.get(minor(istio)), minor(kubernetes)
    if row is None:
        return [f"Istio {istio} is not in the table of {AS_OF}: its support status is unknown here"]
    found = []
    if asked < row.installer_minimum:
        found.append(
            f"The Kubernetes version {kubernetes} is not supported by Istio {istio}. "
            f"The minimum supported Kubernetes version is 1.{row.installer_minimum}."
        )
    judged = verdict(istio, kubernetes)
    if judged != "supported":
        low, high = row.supported
        found.append(f"Istio 1.{row.minor} supports Kubernetes 1.{low} to 1.{high}; 1.{asked} is {judged}")
    day = today or datetime.datetime.now(datetime.UTC).date()
    if day > row.last_day:
        found.append(f"Istio 1.{row.minor} has had no fixes since {row.end_of_life}")
    return found


def pairs(*versions: tuple[str, str], today: datetime.date | None = None) -> pd.DataFrame:
    """One row a pair (Istio, Kubernetes): the verdict and the warnings."""
    rows = [
        (
            istio,
            kubernetes,
            verdict(istio, kubernetes),
            "\n".join(warnings(istio, kubernetes, today)) or "none",
        )
        for istio, kubernetes in versions
    ]
    return pd.DataFrame(rows, columns=["Istio", "Kubernetes", "Verdict", "Warnings"])
