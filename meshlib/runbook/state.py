"""What changed between two looks at a cluster, and from which step on an earlier run is to be done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshlib.runbook.record import StepRecord

State = dict[str, list[str]]

# resource → whether its names stay the same from run to run
KINDS = {
    "deployments.apps": True,
    "pods": False,
    "services": True,
    "configmaps": True,
    "secrets": True,
    "gateways.networking.istio.io": True,
    "virtualservices.networking.istio.io": True,
    "destinationrules.networking.istio.io": True,
    "peerauthentications.security.istio.io": True,
    "authorizationpolicies.security.istio.io": True,
    "telemetries.telemetry.istio.io": True,
}


def difference(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> list[str]:
    """What came (`+`) and went (`-`) between two snapshots, one line an object."""
    lines: list[str] = []
    for kind in sorted({*before, *after}):
        old, new = set(before.get(kind, ())), set(after.get(kind, ()))
        gone, come = sorted(old - new), sorted(new - old)
        lines += [f"- {kind} {name}" for name in gone] + [f"+ {kind} {name}" for name in come]
    return lines


def passed(order: Sequence[str], before: Sequence[StepRecord]) -> int:
    """How many steps at the beginning of `order` an earlier run shows as passed."""
    records = {record.name: record for record in before}
    good = 0
    while good < len(order) and order[good] in records and _counts(records[order[good]]):
        good += 1
    return good


def first_to_do(order: Sequence[str], before: Sequence[StepRecord], now: Mapping[str, list[str]]) -> int:
    """Where to go on: the index in `order` of the first step to run again.

    A step counts as done if the earlier run shows it as passed, and what it added is there now, unless a
    later passed step removed it.  Pods do not count, their names change.
    """
    records = {record.name: record for record in before}
    good = passed(order, before)
    if not good:
        return 0
    kept = _stable(records[order[good - 1]].state_after)
    there = _stable(now)
    for number, name in enumerate(order[:good]):
        added = _stable(records[name].state_after) - _stable(records[name].state_before)
        if (added & kept) - there:
            return number
    return good


def _counts(record: StepRecord) -> bool:
    """Passed, or left out because it had passed (the reason says so); what `--only` left out never ran."""
    return record.outcome == "passed" or (record.outcome == "skipped" and bool(record.reason))


def _stable(state: Mapping[str, list[str]]) -> set[tuple[str, str]]:
    return {(kind, name) for kind, names in state.items() if KINDS.get(kind, True) for name in names}
