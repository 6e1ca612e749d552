"""`meshlib schedule`: from a file of parameters and a time of day to the text of a ready file."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from meshlib.errors import ParameterError
from meshlib.parameters import TABLE, complete
from meshlib.runbook import cronjob, schedule, strict_yaml

TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def text(kind: str, parameters: Path, at: str, *, zone: str, image: str, keep: int) -> str:
    """The file of `kind` (cron, systemd, cronjob, github).  Raises `ParameterError` with all findings."""
    values, found = strict_yaml.read(parameters)
    time = TIME.fullmatch(at)
    if time is None:
        found.append(f"--at {at}: a time of day such as 06:17 is accepted")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        found.append(f"--zone {zone}: a time zone such as Europe/Berlin is accepted")
    if TABLE["image"].check(image):
        found.append(
            f"--image {image}: an image with a tag such as registry.example.org/meshlib:1 is accepted"
        )
    if found or time is None:
        raise ParameterError(found)
    plan = schedule.Plan(
        parameters=parameters,
        root=Path.cwd(),
        at=(int(time[1]), int(time[2])),
        config=complete(values),
        zone=zone,
        image=image,
        keep=keep,
    )
    if kind == "cronjob":
        return yaml.safe_dump_all(cronjob.objects(plan), sort_keys=False, width=110)
    if kind == "systemd":
        return "\n".join(f"# --- {name}\n{unit}" for name, unit in schedule.systemd(plan).items())
    return schedule.cron(plan) if kind == "cron" else schedule.github(plan)
