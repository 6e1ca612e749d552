"""Pure readings of pods that several controllers share: active, ready, available, worth keeping."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Obj = dict[str, Any]


def condition(obj: Obj, type_: str) -> Obj | None:
    found = (obj.get("status") or {}).get("conditions") or []
    return next((each for each in found if each["type"] == type_), None)


def is_active(pod: Obj) -> bool:
    """Neither ended nor on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]


def is_ready(pod: Obj) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def seconds_since(stamp: str, now_s: float) -> float:
    return now_s - datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()


def unavailable_for_s(pod: Obj, min_ready_s: int, now_s: float) -> float | None:
    """0 for an available pod, the seconds until it will be, None for one that is not ready."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return None
    if not min_ready_s:
        return 0.0
    return max(min_ready_s - seconds_since(found["lastTransitionTime"], now_s), 0.0)


def worth(pod: Obj) -> tuple[bool, int, bool, int, str]:
    """A sort key: what a ReplicaSet deletes first comes first.

    Unbound before bound, Pending before Running, not ready before ready, more restarts first, newer first.
    """
    status = pod.get("status") or {}
    phase = {"Pending": 0, "Unknown": 1, "Running": 2}.get(status.get("phase", "Pending"), 2)
    restarts = sum(each.get("restartCount", 0) for each in status.get("containerStatuses") or [])
    newest_first = "".join(chr(0x10FFFF - ord(c)) for c in pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), phase, is_ready(pod), -restarts, newest_first
