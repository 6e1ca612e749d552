"""Probes: one try of a probe, and the count of tries that makes a result. Wording as a kubelet's.

A kubelet tries a container that is not ready once a period (10 s by default).  Here tries before the first
success come faster, at first every 0.1 s; these extra ones never count as failures, so that thresholds keep
their
meaning.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]
Execute = Callable[[list[str]], Awaitable[tuple[int, str]]]
Resolve = Callable[[int | str], tuple[str, int] | None]  # a port of the container → where it really listens

USER_AGENT = "kube-probe/1.36"
LONGEST_BODY = 10 * 2**10
FIRST_PAUSE_S = 0.1


@dataclass(frozen=True)
class Outcome:
    ok: bool
    text: str = ""


async def attempt(probe: Obj, resolve: Resolve, execute: Execute) -> Outcome:
    """One try of a probe within its timeout."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout_s):
            if action := probe.get("httpGet"):
                return await _http(action, resolve)
            if action := probe.get("tcpSocket"):
                return await _tcp(action, resolve)
            if action := probe.get("exec"):
                code, output = await execute(list(action["command"]))
                return Outcome(code == 0, output)
    except TimeoutError:
        if "exec" in probe:
            return Outcome(False, f"command timed out after {timeout_s:g}s")
        return Outcome(False, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
    return Outcome(False, "the embedded lab has only httpGet, tcpSocket and exec probes")


async def _tcp(action: Obj, resolve: Resolve) -> Outcome:
    target = resolve(action["port"])
    if target is None:
        return Outcome(False, f"invalid port: {action['port']}")
    try:
        _, writer = await asyncio.open_connection(*target)
    except OSError as error:
        return Outcome(False, _refused(target, error))
    writer.close()
    return Outcome(True)


async def _http(action: Obj, resolve: Resolve) -> Outcome:
    target = resolve(action["port"])
    if target is None:
        return Outcome(False, f"invalid port: {action['port']}")
    if action.get("scheme", "HTTP") != "HTTP":
        return Outcome(False, "the embedded lab has no HTTPS probes: it never skips verifying a certificate")
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    host = f"{target[0]}:{target[1]}"
    headers = {"Host": host, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers.update({each["name"]: each["value"] for each in action.get("httpHeaders") or []})
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    try:
        reader, writer = await asyncio.open_connection(*target)
    except OSError as error:
        return Outcome(False, f'Get "http://{host}{path}": {_refused(target, error)}')
    try:
        writer.write("\r\n".join(lines).encode())
        status = (await reader.readline()).split()
        if len(status) < 2 or not status[1].isdigit():
            return Outcome(False, f'Get "http://{host}{path}": EOF')
        await reader.read(LONGEST_BODY)
        code = int(status[1])
        return Outcome(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")
    except OSError as error:
        return Outcome(False, f'Get "http://{host}{path}": {error.strerror}')
    finally:
        writer.close()


def _refused(target: tuple[str, int], error: OSError) -> str:
    return f"dial tcp {target[0]}:{target[1]}: connect: {(error.strerror or str(error)).lower()}"


class Counter:
    """The result of a probe after each try: pure counting against successThreshold and failureThreshold."""

    def __init__(self, probe: Obj, initial: bool) -> None:
        self.success = int(probe.get("successThreshold") or 1)
        self.failure = int(probe.get("failureThreshold") or 3)
        self.result = initial
        self._last: bool | None = None
        self._run = 0

    def add(self, ok: bool) -> bool:
        """Count a try; returns whether the result is new, or a failure has come round to its threshold
        again.
        """
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        if self._run < (self.success if ok else self.failure):
            return False
        changed = ok != self.result or (not ok and self._run == self.failure)
        self.result = ok
        return changed


async def results(
    probe: Obj,
    initial: bool,
    once: Callable[[], Awaitable[Outcome]],
    failed: Callable[[str], Awaitable[None]],
) -> AsyncIterator[bool]:
    """The probe's results as they are decided, endlessly; a result may repeat False each failureThreshold
    tries.

    `once` is one try; `failed` is told the text of each failure that counts.
    """
    counter = Counter(probe, initial)
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    period_s = float(probe.get("periodSeconds") or 10)
    pause_s, due_s, fresh = FIRST_PAUSE_S, time.monotonic() + period_s, True
    while True:
        outcome = await once()
        counted = outcome.ok or not fresh or time.monotonic() >= due_s
        if counted:
            due_s = time.monotonic() + period_s
            if not outcome.ok:
                await failed(outcome.text)
            if counter.add(outcome.ok):
                yield counter.result
        fresh = fresh and not outcome.ok
        if fresh:
            await asyncio.sleep(min(pause_s, max(due_s - time.monotonic(), 0.01)))
            pause_s = min(pause_s * 1.5, period_s)
        else:
            await asyncio.sleep(period_s)
