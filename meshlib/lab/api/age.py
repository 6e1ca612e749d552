"""Ages as kubectl shows them.  Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def age(stamp: str | None, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was, as kubectl shows it."""
    if not stamp:
        return "<unknown>"
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(stamp)).total_seconds())
    return duration(seconds)


def duration(seconds: int) -> str:
    """2m, 3h5m, 7d: the steps of k8s.io/apimachinery's HumanDuration."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"
