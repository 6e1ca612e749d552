"""Runs a plan: in this process, or in worker processes whose results are merged."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from tqdm import tqdm

from meshlib.errors import MeshlibError
from meshlib.load import engine
from meshlib.load.plan import NS, Http, Plan, Request, Step, TraceHeaders, checked, for_worker
from meshlib.load.records import Part, mapped
from meshlib.load.result import LoadResult

Show = Callable[[int, float], None]  # finished requests, seconds since the start


def run(
    url: str | Sequence[Request],
    *,
    rate: float | Iterable[tuple[float, float]] | None = None,
    connections: int = 10,
    streams: int = 1,
    http: Http = "1.1",
    duration_s: float | None = 10.0,
    requests: int | None = None,
    arrivals: Literal["constant", "poisson"] = "constant",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    cacert: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    resolve: Sequence[str] = (),
    keepalive: bool = True,
    timeout_s: float = 30.0,
    trace: TraceHeaders = "none",
    sampled: float | None = 1.0,
    workers: int = 1,
    progress: bool = False,
    seed: int = 0,
    on: Callable[[Plan], LoadResult] | None = None,
) -> LoadResult:
    """Load `url`, or a weighted mix of `Request`s, and return what was measured.

    Without `rate` each of the `connections` (times `streams` with HTTP/2) sends when it has its answer. With
    `rate` (requests/s, or a list of (rate, s) steps) requests are due at times of their own and latency
    counts from then. `requests` ends the run early. Failures are samples; only a wrong parameter raises
    (`ParameterError`, with every finding). `on` runs the plan somewhere else than on this machine
    (`meshlib.istio.load_job.LoadJob`: in a cluster).
    """
    mix = (
        (Request(url, method, tuple(f"{k}: {v}" for k, v in (headers or {}).items()), body),)
        if isinstance(url, str)
        else tuple(url)
    )
    steps: tuple[Step, ...] = ()
    if isinstance(rate, (int, float)):
        if duration_s is None:
            duration_s = requests / rate if requests and rate > 0 else 10.0
        steps = (Step(rate, duration_s),)
    elif rate is not None:
        steps = tuple(Step(each, seconds) for each, seconds in rate)
    plan = Plan(
        requests=mix,
        connections=connections,
        streams=streams,
        http=http,
        steps=steps,
        arrivals=arrivals,
        duration_s=duration_s,
        max_requests=requests,
        keepalive=keepalive,
        timeout_s=timeout_s,
        cacert=_path(cacert),
        cert=_path(cert),
        key=_path(key),
        resolve=tuple(resolve),
        trace=trace,
        sampled=sampled,
        seed=seed,
        workers=workers,
    )
    return execute(plan, progress=progress) if on is None else on(checked(plan))


def _path(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


def execute(plan: Plan, *, progress: bool = False) -> LoadResult:
    """Run a plan. Raises `ParameterError` when it is wrong, before anything is sent."""
    checked(plan)
    with contextlib.ExitStack() as stack:
        # without a name, so that nothing stays behind however this ends
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(plan.workers)]
        show = stack.enter_context(_bar(plan)) if progress else None
        if plan.workers == 1:
            told = None if show is None else lambda done, at_ns: show(done, at_ns / NS)
            outcomes = [engine.drive(plan, files[0], progress=told)]
        else:
            outcomes = _workers(plan, [file.fileno() for file in files], show)
        pairs = zip(files, outcomes, strict=True)
        return LoadResult(plan, outcomes, [Part(mapped(file), outcome.prefix) for file, outcome in pairs])


def _workers(plan: Plan, files: list[int], show: Show | None) -> list[engine.Outcome]:
    started: list[subprocess.Popen[bytes]] = []
    heard: list[bytes] = []
    outcomes: list[engine.Outcome] = []
    try:
        for index, file in enumerate(files):
            argv = [sys.executable, "-m", "meshlib.load.worker", str(index), str(file)]
            started.append(_start(argv, file))
        for index, process in enumerate(started):
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(for_worker(plan, index)))
            process.stdin.close()
        while len(outcomes) < len(started):
            try:
                show_first = None if outcomes else show
                outcomes.append(_outcome(started[len(outcomes)], heard, show_first, plan))
                heard.clear()
            except KeyboardInterrupt:
                for process in started:
                    process.send_signal(signal.SIGINT)
        return outcomes
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _start(argv: list[str], file: int) -> subprocess.Popen[bytes]:
    """A worker in a session of its own: Ctrl-C comes to this process, which hands it on once.

    The worker is started with SIGINT held back and lets it in when it can report (`engine.drive`).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, pass_fds=(file,)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(
    process: subprocess.Popen[bytes], heard: list[bytes], show: Show | None, plan: Plan
) -> engine.Outcome:
    """What a worker reports. A Ctrl-C may break in anywhere: `heard` keeps its lines until the next call."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"at "):
            if show is not None:
                _, done, at_ns = line.split()
                show(int(done) * plan.workers, int(at_ns) / NS)
        else:
            heard.append(line)
    if process.wait() or not heard:
        raise MeshlibError(f"a load worker ended with {process.returncode} before it gave its result")
    return msgspec.json.decode(heard[-1], type=engine.Outcome)


@contextlib.contextmanager
def _bar(plan: Plan):  # type: ignore[no-untyped-def]
    whole_s = plan.open_s if plan.is_open else plan.duration_s
    with tqdm(
        total=whole_s, unit="s", leave=False, bar_format="{l_bar}{bar}| {n:.1f}/{total} s{postfix}"
    ) as bar:

        def show(done: int, at_s: float) -> None:
            bar.n = min(at_s, whole_s) if whole_s else at_s
            bar.set_postfix_str(f"{done:,} requests, {done / at_s:,.0f}/s")

        yield show
