"""What a proxy says of itself on its admin port: which versions it took, what it rejected and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from meshlib.lab.istiod.bootstrap import ADMIN_PORT
from meshlib.lab.istiod.translate import Proxy

STATS = r"/stats?filter=(version_text|update_rejected)$"
LDS, CDS = "listener_manager.lds.", "cluster_manager.cds."


@dataclass
class Taken:
    """What Envoy has: xDS type → resource name as stats spell it → version; and rejections so far."""

    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)


def spelled(name: str) -> str:
    """A resource name as Envoy writes it inside the name of a statistic."""
    return name.replace(":", "_")


def parse(stats: str) -> Taken:
    """The plain text of /stats, for the names that `STATS` selects."""
    taken = Taken()
    for line in stats.splitlines():
        name, colon, value = line.rpartition(": ")
        if not colon:
            continue
        head, _, what = name.rpartition(".")
        place = _place(f"{head}.")
        if place is None:
            continue
        kind, resource = place
        if what == "version_text":
            if text := value.strip('"'):
                taken.versions.setdefault(kind, {})[resource] = text
        elif int(value):
            taken.rejected.setdefault(kind, {})[resource] = int(value)
    return taken


def _place(head: str) -> tuple[str, str] | None:
    if head == LDS:
        return "lds", ""
    if head == CDS:
        return "cds", ""
    if head.startswith("http.") and ".rds." in head:
        return "rds", head.split(".rds.", 1)[1][:-1]
    if head.startswith("sds."):
        return "sds", head[len("sds.") : -1]
    return None


def acknowledged(kind: str, sent: Mapping[str, str], taken: Taken) -> str:
    """The version of a type that the proxy has: `sent`'s newest when all of what it watches is up to date.

    Otherwise the newest of those that are not; empty when it watches none of them.
    """
    have = taken.versions.get(kind, {})
    watched = {name: version for name, version in sent.items() if spelled(name) in have}
    if not watched:
        return ""
    stale = [have[spelled(name)] for name, version in watched.items() if have[spelled(name)] != version]
    return max(stale, key=order) if stale else newest(sent)


def rejections(taken: Taken, missing: Collection[str]) -> Iterator[tuple[tuple[str, str], int]]:
    """(type, resource) → how often Envoy rejected it; secrets that are `missing` are rejected on purpose."""
    expected = {spelled(name) for name in missing}
    for kind, names in taken.rejected.items():
        for name, times in names.items():
            if kind != "sds" or name not in expected:
                yield (kind, name), times


def newest(versions: Mapping[str, str]) -> str:
    """The newest of the versions of a type, empty if it has none."""
    return max(versions.values(), key=order, default="")


def order(version: str) -> tuple[str, int]:
    """`2026-11-23T03:00:00Z/12` sorts by time, then number."""
    at, _, number = version.partition("/")
    return at, int(number) if number.isdigit() else 0


async def ask(client: httpx.AsyncClient, proxy: Proxy) -> Taken | None:
    """What the proxy has; None while its Envoy does not answer."""
    try:
        answer = await client.get(_url(proxy) + STATS)
    except httpx.TransportError:
        return None
    return parse(answer.text) if answer.status_code == 200 else None


async def listener_errors(client: httpx.AsyncClient, proxy: Proxy) -> list[str]:
    """Why Envoy rejected listeners, in its own words; the other types' reasons are only in its log."""
    try:
        answer = await client.get(_url(proxy) + "/config_dump?resource=dynamic_listeners")
    except httpx.TransportError:
        return []
    found: list[dict[str, Any]] = msgspec.json.decode(answer.content).get("configs", [])
    return [item["error_state"]["details"] for item in found if "error_state" in item]


def _url(proxy: Proxy) -> str:
    return f"http://{proxy.inside}:{proxy.true_port(ADMIN_PORT)}"
