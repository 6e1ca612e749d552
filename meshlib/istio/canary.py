"""A canary: workloads and weighted routes, a count of who answered, and the verdict; only `measure` sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd

from meshlib.istio import objects, routing, sampling
from meshlib.istio.objects import Obj
from meshlib.istio.site import Site
from meshlib.parameters import Config

VERSION_HEADER = "x-version"
Z999 = 3.290527
"""Two-sided 99.9 %: a sound canary is held back by chance once in a thousand measurements."""
SENDERS = 4


def workload(cfg: Config, app: str, version: str) -> Obj:
    """A Deployment `<app>-<version>` with one pod, labelled `app` and `version`; account and greeting are
    those of the lab's HTTP server."""
    made = objects.deployment(
        app,
        cfg.namespace,
        image=cfg.image,
        replicas=1,
        port=cfg.container_port,
        config=f"{cfg.app}-conf",
        version=version,
        env={"VERSION": version},
    )
    made["metadata"]["name"] = f"{app}-{version}"
    made["spec"]["template"]["spec"]["serviceAccountName"] = cfg.app
    return made


def split(app: str, port: int, weights: Mapping[str, int]) -> list[Obj]:
    """The `route` of a rule: each version with its weight, named in the answer's header `x-version`.

    A version of weight 0 is left out.  The header is set by the gateway, so any image will do.
    """
    return [
        {
            "destination": routing.destination(app, port, version),
            "weight": weight,
            "headers": {"response": {"set": {VERSION_HEADER: version}}},
        }
        for version, weight in weights.items()
        if weight
    ]


@dataclass(frozen=True)
class Count:
    """Who answered while `weight` per cent were to go to `canary`: answers and failures (5xx or none) by
    version."""

    canary: str
    weight: float
    answered: Mapping[str, int]
    failed: Mapping[str, int]

    @property
    def sent(self) -> int:
        """All requests that some version answered."""
        return sum(self.answered.values())

    @property
    def share(self) -> sampling.Share:
        """The share that the canary answered."""
        return sampling.Share(
            f"{self.weight:g} % to {self.canary}", self.sent, self.answered.get(self.canary, 0)
        )


@dataclass(frozen=True)
class Verdict:
    """`promote`, `hold` or `roll back`, and why."""

    decision: str
    reason: str


def measure(site: Site, path: str, canary: str, weight: float, requests: int) -> Count:
    """Send `requests`, each on a connection of its own, and count them by the header `x-version`."""
    with ThreadPoolExecutor(SENDERS) as pool:
        seen = list(pool.map(lambda _: site.get(path), range(requests)))
    versions = [each.headers.get(VERSION_HEADER, "no version") for each in seen]
    failed = [
        version for version, each in zip(versions, seen, strict=True) if each.status >= 500 or each.error
    ]
    return Count(canary, weight, _tally(versions), _tally(failed))


def _tally(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def judge(count: Count, *, at_least: int = 20) -> Verdict:
    """What to do with the canary.

    Roll back: it fails more often than the stable version, and chance cannot explain it (the intervals at
    99.9 % do not touch).  Hold: its share is not what the weight says, or fewer than `at_least` of its
    answers were seen.  Promote otherwise.
    """
    share = count.share
    own, own_failed = share.traced, count.failed.get(count.canary, 0)
    others, others_failed = share.sent - own, sum(count.failed.values()) - own_failed
    if own and own_failed:
        low, _ = sampling.wilson(own_failed, own, Z999)
        _, high = sampling.wilson(others_failed, others, Z999) if others else (0.0, 0.0)
        if low > high:
            return Verdict("roll back", f"{own_failed} of {own} answers of {count.canary} failed")
    low, high = sampling.wilson(own, share.sent, Z999) if share.sent else (0.0, 100.0)
    if not low <= count.weight <= high:
        return Verdict(
            "hold", f"{share.percent:.1f} % is not {count.weight:g} %: is the route live everywhere?"
        )
    if own < at_least:
        return Verdict("hold", f"only {own} answers of {count.canary} were seen")
    return Verdict("promote", f"{share.percent:.1f} % fits {count.weight:g} %, no more failures than before")


def table(counts: Sequence[Count]) -> pd.DataFrame:
    """One row a measurement: Measurement, Sent, By the canary, Share (%), From (%), To (%) at 95 %, Failed,
    Verdict, Why."""
    rows = []
    for count in counts:
        share, verdict = count.share, judge(count)
        low, high = share.interval
        failed = count.failed.get(count.canary, 0)
        numbers = (round(share.percent, 2), round(low, 2), round(high, 2), failed)
        rows.append((share.label, share.sent, share.traced, *numbers, verdict.decision, verdict.reason))
    columns = ["Measurement", "Sent", "By the canary", "Share (%)", "From (%)", "To (%)", "Failed"]
    return pd.DataFrame(rows, columns=[*columns, "Verdict", "Why"])
