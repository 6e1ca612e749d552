"""One worker: sends what a plan says, when it says so, and writes a record a request.

How a request is sent is up to a `Wire`: `direct` or `multiplexed` where they suit, else `transfers`.
"""

from __future__ import annotations

import gc
import resource
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from meshlib.load import direct, http1, http2, kinds, multiplexed, records, stats, tracing, transfers
from meshlib.load.plan import NS, Plan, mix, schedule
from meshlib.load.wire import Done, Wire

SIZE, PACK, SAMPLED = records.PACK.size, records.PACK.pack_into, records.SAMPLED
FULL = SIZE * 4096  # bytes of records that are kept in memory
TICK_NS = NS // 4  # how often progress is told
RETRY_NS = (
    NS // 100
)  # a closed loop's pause after a failure, lest a refused port is asked 30,000 times a second
LATE_NS = NS  # how long after its end an open loop still sends what is overdue
LONGEST_WAIT_S = 0.25  # Ctrl-C and progress are looked at this often
MIX = 0xD1342543DE82EF95  # odd: multiplying by it modulo 2**64 visits every trace id once
MASK = 2**64 - 1
FOREVER = 2**62


@dataclass
class Outcome:
    """What a worker found: a histogram of the good answers, and counts."""

    prefix: str  # upper half of the trace ids, 16 hex digits
    histogram: stats.Histogram = field(default_factory=stats.Histogram)
    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)  # kind → the first text of that kind
    statuses: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    connections_opened: int = 0
    unsent: int = 0  # requests of an open loop that were never sent because it was too far behind
    last_start_ns: int = 0
    last_end_ns: int = 0
    cpu_s: float = 0.0
    interrupted: bool = False


Progress = Callable[[int, int], None]  # finished requests, ns since the start


def drive(plan: Plan, sink: BinaryIO, *, worker: int = 0, progress: Progress | None = None) -> Outcome:
    """Run the plan and write its records to `sink`. Ctrl-C ends it early with what was measured so far."""
    engine = _Engine(plan, sink, worker)
    used = resource.getrusage(resource.RUSAGE_SELF)
    was_on = gc.isenabled()
    gc.disable()  # the loop makes no cycles, and a collection would show as latency
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back while a worker starts
        engine.run(progress)
    except KeyboardInterrupt:
        engine.outcome.interrupted = True
    finally:
        if was_on:
            gc.enable()
        engine.finish()
    now = resource.getrusage(resource.RUSAGE_SELF)
    engine.outcome.cpu_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return engine.outcome


def _wire(plan: Plan, traced: tracing.Lines) -> Wire:
    if http1.suits(plan):
        return direct.Connections(plan, traced)
    return multiplexed.Connections(plan, traced) if http2.suits(plan) else transfers.Transfers(plan, traced)


class _Engine:
    def __init__(self, plan: Plan, sink: BinaryIO, worker: int) -> None:
        self.plan = plan
        self.outcome = Outcome(prefix=secrets.token_hex(8))
        self._sink = sink
        self._worker = worker
        self._buffer = bytearray(FULL)
        self._filled = 0
        self._wire = _wire(plan, tracing.lines(plan, self.outcome.prefix))
        self._send = self._wire.start
        self._order = mix(plan)
        # by slot: intended, started, trace, flags, item
        self._flying: dict[int, tuple[int, int, int, int, int]] = {}
        self._traced = plan.trace != "none"
        self._trace_seed = secrets.randbits(64)
        self._sampled_below = 2**64 if plan.sampled is None else int(plan.sampled * 2**64)
        self._started = 0
        self._begin = 0

    def run(self, progress: Progress | None) -> None:
        plan, flying = self.plan, self._flying
        clock, step = time.perf_counter_ns, self._wire.step
        start, finish = self._start, self._record
        idle = deque(range(plan.slots))
        later: deque[int] = deque()  # when failed slots of a closed loop may send again
        limit = FOREVER if plan.max_requests is None else plan.max_requests
        end = FOREVER if plan.duration_s is None or plan.is_open else int(plan.duration_s * NS)
        due = schedule(plan) if plan.is_open else None
        give_up = int(plan.open_s * NS) + LATE_NS
        self._begin = begin = clock()
        intended = next(due, FOREVER) if due is not None else 0
        tick = TICK_NS if progress is not None else FOREVER
        while True:
            now = clock() - begin
            if due is not None:
                while intended <= now and idle:
                    start(idle.popleft(), intended, now)
                    intended = next(due, FOREVER)
                if intended != FOREVER and now > give_up:
                    self.outcome.unsent = 1 + sum(1 for _ in due)
                    intended = FOREVER
            elif now >= end or self._started >= limit:
                intended = FOREVER
            else:
                while later and later[0] <= now:
                    later.popleft()
                for _ in range(min(len(idle) - len(later), limit - self._started)):
                    now = clock() - begin
                    if now >= end:
                        break
                    start(idle.popleft(), now, now)
                intended = later[0] if later else FOREVER - 1
            if not flying and intended == FOREVER:
                return
            wait_ns = min(intended - (clock() - begin), tick - now) if idle else tick - now
            if flying:
                for done in step(min(wait_ns / NS, LONGEST_WAIT_S)):
                    finish(done)
                    idle.append(done[0])
                    if done[1] and due is None:
                        later.append(clock() - begin + RETRY_NS)
            elif wait_ns > 0:
                time.sleep(min(wait_ns / NS, LONGEST_WAIT_S))
            if now >= tick and progress is not None:
                tick = now + TICK_NS
                progress(self.outcome.requests + self._filled // SIZE, now)

    def _start(self, slot: int, intended: int, now: int) -> None:
        number = self._started
        self._started = number + 1
        item = self._order[number % len(self._order)]
        if not self._traced:
            self._flying[slot] = (intended, now, 0, 0, item)
            self._send(slot, item, b"", False)
            return
        trace = (self._trace_seed + number * MIX) & MASK or 1
        sampled = trace < self._sampled_below
        self._flying[slot] = (intended, now, trace, SAMPLED if sampled else 0, item)
        self._send(slot, item, b"%016x" % trace, sampled)

    def _record(self, done: Done) -> None:
        slot, error, status, opened, dns, connect, tls, first, total, size, http = done
        intended, started, trace, flags, item = self._flying.pop(slot)
        if opened:
            flags |= records.NEW_CONNECTION
            self.outcome.connections_opened += opened
        PACK(
            self._buffer,
            self._filled,
            intended,
            started,
            dns,
            connect,
            tls,
            first,
            total,
            size,
            trace,
            status,
            item,
            http,
            error,
            flags,
            self._worker,
        )
        self._filled += SIZE
        if self._filled == FULL:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(self._buffer)[: self._filled]
        self._filled = 0
        self._sink.write(data)
        self._count(np.frombuffer(data, dtype=records.DTYPE))

    def _count(self, part: records.Records) -> None:
        outcome = self.outcome
        outcome.requests += len(part)
        good = part[part["error"] == 0]
        outcome.histogram.add(records.latency_us(good))
        outcome.bytes += int(part["bytes"].sum())
        outcome.last_start_ns = max(outcome.last_start_ns, int(part["started_ns"].max(initial=0)))
        ends = part["started_ns"] + part["total_us"].astype("int64") * 1000
        outcome.last_end_ns = max(outcome.last_end_ns, int(ends.max(initial=0)))
        for value, count in zip(
            *(x.tolist() for x in np.unique(good["status"], return_counts=True)), strict=True
        ):
            outcome.statuses[str(value)] = outcome.statuses.get(str(value), 0) + count
        failed = part["error"][part["error"] != 0]
        for value, count in zip(*(x.tolist() for x in np.unique(failed, return_counts=True)), strict=True):
            outcome.errors[kinds.ALL[value]] = outcome.errors.get(kinds.ALL[value], 0) + count

    def finish(self) -> None:
        """Count what was cut off, write the rest, close every connection."""
        now = time.perf_counter_ns() - self._begin
        cut = kinds.NUMBER[kinds.UNFINISHED]
        for slot, (_, started, *_rest) in list(self._flying.items()):
            waited_us = min((now - started) // 1000, 2**32 - 1)
            self._record((slot, cut, 0, 0, 0, 0, 0, 0, waited_us, 0, 0))
        self._flush()
        self.outcome.messages = self._wire.messages
        self._wire.close()
        self._sink.flush()
