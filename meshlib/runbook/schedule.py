"""Ready files that run the runbook every day: a crontab line, systemd units, a workflow of GitHub Actions.

Each refuses to start a second run beside one that is under way, ends a run that takes too long, and keeps the
record of a failed run.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from meshlib.parameters import Config

GRACE_S = 120  # what a run may take after its own deadline to write its record


@dataclass(frozen=True)
class Plan:
    """What to run and when: `at` is (hour, minute); paths are absolute."""

    parameters: Path
    root: Path
    at: tuple[int, int]
    config: Config
    zone: str = "Etc/UTC"
    image: str = "meshlib:latest"
    namespace: str = "meshlib"
    keep: int = 30

    @property
    def limit_s(self) -> int:
        """Seconds after which whoever started the run ends it."""
        return int(self.config.deadline_s) + GRACE_S

    @property
    def cron(self) -> str:
        hour, minute = self.at
        return f"{minute} {hour} * * *"


def _command(plan: Plan) -> str:
    program = Path(sys.executable).with_name("meshlib")
    return shlex.join([str(program), "run", "--parameters", str(plan.parameters)])


def _prune(plan: Plan) -> str:
    program = Path(sys.executable).with_name("meshlib")
    return shlex.join([str(program), "prune", "--keep", str(plan.keep)])


def cron(plan: Plan) -> str:
    """A crontab line; `flock -n` skips a start while the last run is still under way."""
    lock = plan.root / "outputs" / ".cron.lock"
    log = plan.root / "outputs" / "cron.log"
    steps = f"{_command(plan)}; code=$?; {_prune(plan)}; exit $code"
    limited = f"timeout --kill-after=30 {plan.limit_s} sh -c {shlex.quote(steps)}"
    inner = f"cd {shlex.quote(str(plan.root))} && {limited}"
    line = f"flock -n {shlex.quote(str(lock))} sh -c {shlex.quote(inner)} >> {shlex.quote(str(log))} 2>&1"
    return f"CRON_TZ={plan.zone}\n{plan.cron} {line.replace('%', chr(92) + '%')}\n"


def systemd(plan: Plan) -> dict[str, str]:
    """File name → unit: a oneshot service, its timer, and what runs when the service fails."""
    hour, minute = plan.at
    root = str(plan.root).replace("%", "%%")
    service = f"""[Unit]
Description=meshlib runbook
After=network-online.target
Wants=network-online.target
OnFailure=meshlib-failed.service

[Service]
Type=oneshot
WorkingDirectory={root}
ExecStart={_command(plan).replace("%", "%%")}
ExecStopPost={_prune(plan).replace("%", "%%")}
TimeoutStartSec={plan.limit_s}
KillSignal=SIGTERM
TimeoutStopSec=60
NoNewPrivileges=yes
PrivateTmp=yes
"""
    timer = f"""[Unit]
Description=meshlib runbook, daily

[Timer]
OnCalendar=*-*-* {hour:02}:{minute:02}:00 {plan.zone}
Persistent=true
RandomizedDelaySec=60

[Install]
WantedBy=timers.target
"""
    failed = f"""[Unit]
Description=meshlib runbook failed

[Service]
Type=oneshot
WorkingDirectory={root}
ExecStart={shlex.join([str(Path(sys.executable).with_name("meshlib")), "history", "--last", "5"])}
"""
    return {"meshlib.service": service, "meshlib.timer": timer, "meshlib-failed.service": failed}


def github(plan: Plan) -> str:
    """A GitHub Actions workflow on the embedded lab; the record is uploaded also when the run fails."""
    parameters = plan.parameters
    if parameters.is_relative_to(plan.root):
        parameters = parameters.relative_to(plan.root)
    return f"""name: runbook
on:
  schedule:
    - cron: "{plan.cron}"
  workflow_dispatch: {{}}
permissions:
  contents: read
concurrency:
  group: runbook
  cancel-in-progress: false
jobs:
  run:
    runs-on: ubuntu-latest
    timeout-minutes: {-(-plan.limit_s // 60)}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - run: python -m pip install -r requirements.txt && python -m pip install --no-deps .
      - run: meshlib run --parameters {shlex.quote(str(parameters))}
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: run
          path: outputs/
          retention-days: {plan.keep}
"""
