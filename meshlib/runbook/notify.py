"""Tells a webhook how a run ended.  The URL comes from an environment variable and is never written."""

from __future__ import annotations

import logging
import os
import urllib.request
from http.client import HTTPException

import msgspec

from meshlib.runbook.record import SCHEMA, Manifest, OutcomeName

TIMEOUT_S = 10.0
logger = logging.getLogger("meshlib.run")


class Notification(msgspec.Struct, kw_only=True, rename={"schema_": "$schema"}):
    """The JSON body of the POST.  `text` is the whole message for chat services that show only that."""

    schema_: str = f"{SCHEMA}:notification"
    text: str
    run_id: str
    outcome: OutcomeName
    exit_code: int
    reason: str
    target: str
    host: str
    started_at: str
    duration_s: float
    steps_passed: int
    steps_failed: list[str]
    checks_failed: int


def body(manifest: Manifest) -> Notification:
    """What is told about a run."""
    failed = [s.name for s in manifest.steps if s.outcome not in ("passed", "skipped", "not-run")]
    reason = f": {manifest.reason}" if manifest.reason else ""
    target = manifest.target.context or manifest.target.target
    return Notification(
        text=f"meshlib {manifest.outcome} on {target} ({manifest.run_id}){reason}",
        run_id=manifest.run_id,
        outcome=manifest.outcome,
        exit_code=manifest.exit_code,
        reason=manifest.reason,
        target=target,
        host=manifest.runner.host,
        started_at=manifest.started_at,
        duration_s=manifest.duration_s,
        steps_passed=sum(step.outcome == "passed" for step in manifest.steps),
        steps_failed=failed,
        checks_failed=sum(step.checks.failed for step in manifest.steps),
    )


def send(manifest: Manifest) -> str:
    """Posts to the URL in the variable that `webhook_url_env` names; returns what went wrong, or nothing."""
    name = str(manifest.parameters.get("webhook_url_env", ""))
    if not name:
        return ""
    url = os.environ.get(name, "")
    if not url.startswith(("https://", "http://")):
        return f"webhook_url_env: ${name} holds no URL; nobody was notified"
    data = msgspec.json.encode(body(manifest))
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            logger.info("webhook in $%s answered %s", name, answer.status)
    except (OSError, ValueError, HTTPException) as error:
        return f"the webhook in ${name} was not reached: {error}"
    return ""
