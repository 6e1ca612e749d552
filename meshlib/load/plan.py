"""What a load run shall do, checked before anything is sent (pure)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from meshlib.errors import ParameterError

Http: TypeAlias = Literal["1.1", "2"]
TraceHeaders: TypeAlias = Literal["none", "w3c", "b3", "both"]
NS = 1_000_000_000
PER_WORKER = 500  # of the 1,024 files that a process may open by default


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of request of the mix; `url` is absolute, `weight` is its share relative to the others."""

    url: str
    method: str = "GET"
    headers: tuple[str, ...] = ()  # "name: value"
    body: bytes | None = None
    weight: float = 1.0


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of an open loop: `rate` requests/s for `duration_s`."""

    rate: float
    duration_s: float


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A load run; it travels to workers as JSON. Without `steps` it is a closed loop."""

    requests: tuple[Request, ...]
    connections: int = 10
    streams: int = 1  # concurrent HTTP/2 streams of a connection
    http: Http = "1.1"
    steps: tuple[Step, ...] = ()
    arrivals: Literal["constant", "poisson"] = "constant"
    duration_s: float | None = 10.0
    max_requests: int | None = None
    keepalive: bool = True
    timeout_s: float = 30.0
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    resolve: tuple[str, ...] = ()  # HOST:PORT:ADDRESS
    trace: TraceHeaders = "none"
    sampled: float | None = 1.0  # share of the traces marked as sampled; None leaves it to the mesh
    seed: int = 0
    workers: int = 1
    phase: float = 0.0  # shifts a constant rate by this share of its gap, so that workers take turns

    @property
    def is_open(self) -> bool:
        """Whether requests are sent at times of their own, not when an answer has come."""
        return bool(self.steps)

    @property
    def requested_rate(self) -> float | None:
        """The mean rate of an open loop in requests/s; None for a closed one."""
        total_s = sum(step.duration_s for step in self.steps)
        return sum(step.rate * step.duration_s for step in self.steps) / total_s if total_s else None

    @property
    def open_s(self) -> float:
        """How long an open loop sends."""
        return sum(step.duration_s for step in self.steps)

    @property
    def slots(self) -> int:
        """How many requests can be under way at once."""
        return self.connections * (self.streams if self.http == "2" else 1)


def findings(plan: Plan) -> list[str]:
    """Everything that is wrong with the plan, a line each, naming the parameter and what it may be."""
    found: list[str] = []
    if not plan.requests:
        found.append("requests: at least one is needed")
    for request in plan.requests:
        found += _request_findings(request)
    counts = {"connections": plan.connections, "streams": plan.streams, "workers": plan.workers}
    found += [f"{name}: {value} is not a whole number above 0" for name, value in counts.items() if value < 1]
    if plan.connections > plan.workers * PER_WORKER:
        need = -(-plan.connections // PER_WORKER)
        found.append(f"connections: {plan.connections} need at least {need} workers ({PER_WORKER} for each)")
    if plan.connections < plan.workers:
        found.append(f"workers: {plan.workers} are more than the {plan.connections} connections to share")
    if plan.http == "1.1" and plan.streams != 1:
        found.append(f"streams: {plan.streams} streams of a connection need http 2")
    for step in plan.steps:
        if not 0 < step.rate <= 10_000_000:
            found.append(f"rate: {step.rate:g} is not above 0 and at most 10,000,000 requests/s")
        if not 0 < step.duration_s <= 86_400:
            found.append(f"duration: {step.duration_s:g} is not above 0 and at most 86,400 s")
    if plan.duration_s is not None and not 0 < plan.duration_s <= 86_400:
        found.append(f"duration: {plan.duration_s:g} is not above 0 and at most 86,400 s")
    if plan.max_requests is not None and plan.max_requests < 1:
        found.append(f"requests: {plan.max_requests} is not a whole number above 0")
    if plan.duration_s is None and plan.max_requests is None and not plan.steps:
        found.append("duration: a closed loop needs a duration or a number of requests")
    if not 0 < plan.timeout_s <= 3600:
        found.append(f"timeout: {plan.timeout_s:g} is not above 0 and at most 3,600 s")
    if plan.sampled is not None and not 0 <= plan.sampled <= 1:
        found.append(f"sampled: {plan.sampled:g} is not between 0 and 1")
    for name, file in (("cacert", plan.cacert), ("cert", plan.cert), ("key", plan.key)):
        if file is not None and not Path(file).is_file():
            found.append(f"{name}: there is no file {file}")
    if (plan.cert is None) != (plan.key is None):
        found.append("cert, key: one without the other; a client certificate needs both")
    for entry in plan.resolve:
        host, _, rest = entry.partition(":")
        port, _, address = rest.partition(":")
        if not (host and port.isdigit() and all(map(_is_address, address.split(",")))):
            found.append(f"resolve: {entry!r} is not HOST:PORT:ADDRESS, with an IP address")
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _request_findings(request: Request) -> list[str]:
    found: list[str] = []
    try:
        parts = urlsplit(request.url)
        port = parts.port
    except ValueError as error:
        return [f"url: {request.url!r}: {error}"]
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        found.append(f"url: {request.url!r} is not http://host[:port]/path or https://host[:port]/path")
    if any(character <= " " or character == "\x7f" for character in request.url):
        found.append(f"url: {request.url!r} has a blank in it; write %20")
    if not request.method.isalpha():
        found.append(f"method: {request.method!r} is not an HTTP method")
    if not request.weight > 0:
        found.append(f"weight: {request.weight:g} is not above 0")
    for header in request.headers:
        name, colon, _ = header.partition(":")
        if not colon or not name.strip() or "\n" in header or "\r" in header:
            found.append(f"header: {header!r} is not 'name: value'")
    return found


def checked(plan: Plan) -> Plan:
    """The plan itself. Raises `ParameterError` with all findings."""
    if found := findings(plan):
        raise ParameterError(found, fix="meshlib load --help")
    return plan


def for_worker(plan: Plan, index: int) -> Plan:
    """The part of worker `index`: its share of connections, rate and count; shares add up to the whole."""
    if plan.workers == 1:
        return plan

    def share(whole: int) -> int:
        return whole // plan.workers + (index < whole % plan.workers)

    return msgspec.structs.replace(
        plan,
        workers=1,
        connections=share(plan.connections),
        max_requests=None if plan.max_requests is None else share(plan.max_requests),
        steps=tuple(Step(step.rate / plan.workers, step.duration_s) for step in plan.steps),
        seed=plan.seed * 1000 + index,
        phase=index / plan.workers,
    )


def schedule(plan: Plan) -> Iterator[int]:
    """The intended send times of an open loop, in ns since its start.

    Poisson arrivals have exponential gaps; a stretch ends where the next one begins.
    """
    rng = random.Random(plan.seed)
    begin_s = 0.0
    sent = 0
    limit = plan.max_requests
    for step in plan.steps:
        number = 0
        at_s = begin_s + (
            rng.expovariate(step.rate) if plan.arrivals == "poisson" else plan.phase / step.rate
        )
        while at_s < begin_s + step.duration_s:
            if limit is not None and sent >= limit:
                return
            yield int(at_s * NS)
            sent += 1
            number += 1
            if plan.arrivals == "poisson":
                at_s += rng.expovariate(step.rate)
            else:
                at_s = begin_s + (number + plan.phase) / step.rate
        begin_s += step.duration_s


def mix(plan: Plan, length: int = 1000) -> list[int]:
    """Which request comes when: numbers of `plan.requests`, by weight, evenly spread; to be repeated."""
    if len(plan.requests) == 1:
        return [0]
    total = sum(request.weight for request in plan.requests)
    credit = [0.0] * len(plan.requests)
    order: list[int] = []
    for _ in range(length):
        for index, request in enumerate(plan.requests):
            credit[index] += request.weight / total
        chosen = max(range(len(credit)), key=credit.__getitem__)
        credit[chosen] -= 1.0
        order.append(chosen)
    return order
