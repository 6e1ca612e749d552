"""One worker: drives libcurl through a plan and writes a record a request.

On a connection that stays open a request costs one send and one receive (`sockets` says when). What Python
does per request is one `setopt` for the trace headers, five `getinfo` and one `pack`.
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
import pycurl

from meshlib.load import handles, kinds, records, sockets, stats
from meshlib.load.plan import NS, Plan, mix, schedule

SIZE = records.PACK.size
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

# Looked up for every request, so they are globals and not attributes of a module.
RESPONSE_CODE, HTTP_VERSION = pycurl.RESPONSE_CODE, pycurl.INFO_HTTP_VERSION
NUM_CONNECTS, SIZE_DOWNLOAD = pycurl.NUM_CONNECTS, pycurl.SIZE_DOWNLOAD_T
NAMELOOKUP, CONNECT, APPCONNECT = pycurl.NAMELOOKUP_TIME_T, pycurl.CONNECT_TIME_T, pycurl.APPCONNECT_TIME_T
STARTTRANSFER, TOTAL = pycurl.STARTTRANSFER_TIME_T, pycurl.TOTAL_TIME_T


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


class _Engine:
    def __init__(self, plan: Plan, sink: BinaryIO, worker: int) -> None:
        self.plan = plan
        self.outcome = Outcome(prefix=secrets.token_hex(8))
        self._sink = sink
        self._worker = worker
        self._buffer = bytearray(FULL)
        self._pack = records.PACK.pack_into
        self._filled = 0
        self._multi = handles.multi(plan)
        self._sockets = sockets.Sockets(self._multi)
        opened = self._sockets.opened
        self._handles = [handles.handle(plan, opened, slot % plan.connections) for slot in range(plan.slots)]
        self._order = mix(plan)
        self._headers = [handles.headers_of(request) for request in plan.requests]
        self._aimed: dict[pycurl.Curl, int] = {}
        self._flying: dict[pycurl.Curl, tuple[int, int, int, int]] = {}  # intended, started, trace, flags
        self._trace_seed = secrets.randbits(64)
        self._sampled_below = 2**64 if plan.sampled is None else int(plan.sampled * 2**64)
        self._started = 0
        self._begin = 0

    def run(self, progress: Progress | None) -> None:
        plan, multi, flying = self.plan, self._multi, self._flying
        clock, step = time.perf_counter_ns, self._sockets.step
        start, finish, fail = self._start, self._good, self._bad
        idle = deque(self._handles)
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
                    start(idle.popleft(), now, now)
                intended = later[0] if later else FOREVER - 1
            if not flying and intended == FOREVER:
                return
            wait_ns = min(intended - (clock() - begin), tick - now) if idle else tick - now
            if flying:
                step(min(wait_ns / NS, LONGEST_WAIT_S), len(flying))
            elif wait_ns > 0:
                time.sleep(min(wait_ns / NS, LONGEST_WAIT_S))
            _, good, bad = multi.info_read(1000)
            for handle in good:
                finish(handle)
                multi.remove_handle(handle)
                idle.append(handle)
            for handle, code, message in bad:
                fail(handle, code, message)
                multi.remove_handle(handle)
                idle.append(handle)
                if due is None:
                    later.append(clock() - begin + RETRY_NS)
            if now >= tick and progress is not None:
                tick = now + TICK_NS
                progress(self.outcome.requests + self._filled // SIZE, now)

    def _start(self, handle: pycurl.Curl, intended: int, now: int) -> None:
        number = self._started
        self._started = number + 1
        item = self._order[number % len(self._order)]
        if self._aimed.get(handle) != item:
            handles.aim(handle, self.plan, self.plan.requests[item])
            self._aimed[handle] = item
        trace = flags = 0
        if self.plan.trace != "none":
            trace = (self._trace_seed + number * MIX) & MASK or 1
            flags = records.SAMPLED if trace < self._sampled_below else 0
            handle.setopt(pycurl.HTTPHEADER, self._headers[item] + self._trace_headers(trace, flags))
        self._flying[handle] = (intended, now, trace, flags)
        self._multi.add_handle(handle)

    def _trace_headers(self, trace: int, flags: int) -> list[str]:
        span = f"{trace:016x}"
        id_ = self.outcome.prefix + span
        mark = "1" if flags else "0"
        found: list[str] = []
        if self.plan.trace != "b3":
            found.append(f"traceparent: 00-{id_}-{span}-0{mark}")
        if self.plan.trace != "w3c":
            found += [f"x-b3-traceid: {id_}", f"x-b3-spanid: {span}"]
            if self.plan.sampled is not None:
                found.append(f"x-b3-sampled: {mark}")
        return found

    def _good(self, handle: pycurl.Curl) -> None:
        self._record(handle, 0, handle.getinfo(RESPONSE_CODE))

    def _bad(self, handle: pycurl.Curl, code: int, message: str) -> None:
        kind = kinds.kind_of(code, message, handle.getinfo(pycurl.SSL_VERIFYRESULT))
        self.outcome.messages.setdefault(kind, message)
        self._record(handle, kinds.NUMBER[kind], handle.getinfo(RESPONSE_CODE))

    def _record(self, handle: pycurl.Curl, error: int, status: int) -> None:
        info = handle.getinfo
        intended, started, trace, flags = self._flying.pop(handle)
        opened = info(NUM_CONNECTS)
        if opened:
            flags |= records.NEW_CONNECTION
            self.outcome.connections_opened += opened
            dns, connect, tls = info(NAMELOOKUP), info(CONNECT), info(APPCONNECT)
        else:
            dns = connect = tls = 0
        self._pack(
            self._buffer,
            self._filled,
            intended,
            started,
            dns,
            connect,
            tls,
            info(STARTTRANSFER),
            info(TOTAL),
            info(SIZE_DOWNLOAD),
            trace,
            status,
            self._aimed[handle],
            info(HTTP_VERSION),
            error,
            flags,
            self._worker,
        )
        self._filled += SIZE
        if self._filled == FULL:
            self._flush()

    def _cut_off(self, handle: pycurl.Curl, now: int) -> None:
        """Record a request that was under way when the run was broken off."""
        intended, started, trace, flags = self._flying.pop(handle)
        waited_us = min((now - started) // 1000, 2**32 - 1)
        kind = kinds.NUMBER[kinds.UNFINISHED]
        times = (intended, started, 0, 0, 0, 0, waited_us)
        rest = (0, trace, 0, self._aimed[handle], 0, kind, flags, self._worker)
        self._pack(self._buffer, self._filled, *times, *rest)
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
        for handle in list(self._flying):
            self._multi.remove_handle(handle)
            self._cut_off(handle, now)
        self._flush()
        for handle in self._handles:
            handle.close()
        self._multi.close()
        self._sockets.close()
        self._sink.flush()
