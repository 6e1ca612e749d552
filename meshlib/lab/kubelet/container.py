"""One container of a pod over all its lives: start, probes, end, back-off, start again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from meshlib.errors import MeshlibError
from meshlib.lab.kubelet import podspec, probes
from meshlib.lab.kubelet.backoff import INITIAL_S, LONGEST_S, Backoff, restarts
from meshlib.lab.kubelet.environment import ConfigProblem, Obj
from meshlib.lab.kubelet.images import name_problem
from meshlib.lab.kubelet.launch import Command, Launch, command
from meshlib.lab.kubelet.process import Exit, Process
from meshlib.lab.kubelet.status import ContainerFacts, rfc3339

if TYPE_CHECKING:
    from meshlib.lab.kubelet.pod import PodWorker

log = logging.getLogger(__name__)

START_ERROR = 128
XDS_POLL_S = 0.02
XDS_PATIENCE_S = 5.0


class Runner:
    """Runs one container of `owner` until it has ended for good; keeps `facts` true and says when they
    change.
    """

    def __init__(self, owner: PodWorker, spec: Obj, facts: ContainerFacts, policy: str) -> None:
        self.owner = owner
        self.spec = spec
        self.facts = facts
        self.policy = policy
        self.process: Process | None = None
        self.begun = asyncio.Event()  # has passed its startup probe once
        self.wake = asyncio.Event()  # something that it waits for may have changed
        self.command: Command | None = None
        self._stopping = False
        self._lives = facts.restarts if "waiting" in facts.state and facts.last_state else -1

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    async def run(self) -> None:
        """Until the container has ended and will not be started again."""
        backoff = Backoff()
        while not self._stopping:
            try:
                self.command = await self._command()
                began_s = time.time()
                code = await self._live(self.command)
            except Exception as problem:
                if not isinstance(problem, MeshlibError | OSError):
                    log.exception("container %s cannot be started", self.name)
                began_s = time.time()
                code = START_ERROR
                self._not_started(problem, began_s)
            if self._stopping or not restarts(self.policy, code):
                return
            await self._wait_for_restart(backoff.after(time.time() - began_s))

    def respecify(self, spec: Obj) -> None:
        """The pod's spec has changed; another image means another process."""
        if spec.get("image") != self.spec.get("image"):
            self.spec = spec
            if self.process:
                self.owner.note(
                    "Normal", "Killing", f"Container {self.name} definition changed, will be restarted"
                )
                self.process.terminate()
            self.wake.set()
        self.spec = spec

    async def stop(self, grace_s: float) -> None:
        """End the process: preStop, SIGTERM, SIGKILL when `grace_s` is over."""
        self._stopping = True
        self.wake.set()
        process = self.process
        if process is None:
            return
        deadline = time.monotonic() + grace_s
        self.facts.ready = False
        await self._pre_stop(grace_s)
        process.terminate()
        while self.process is process and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self.process is process:
            process.kill()

    async def _pre_stop(self, grace_s: float) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop") or {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                if "sleep" in hook:
                    await asyncio.sleep(float(hook["sleep"]["seconds"]))
                elif hook:
                    outcome = await probes.attempt(
                        {**hook, "timeoutSeconds": grace_s}, self._resolve, self.execute_to_end
                    )
                    if not outcome.ok:
                        self.owner.note("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.text}")

    async def _command(self) -> Command:
        """The command line, as soon as image, configuration and (for a proxy) istiod's files are there."""
        pause_s = INITIAL_S
        while True:
            image = self.spec.get("image", "")
            if problem := name_problem(image):
                await self._bad_name(image, problem, pause_s)
                continue
            program = self.owner.context.images.find(image)
            if program is None:
                await self._no_image(image, pause_s)
                pause_s = min(pause_s * 2, LONGEST_S)
                continue
            if podspec.proxy_role(self.spec):
                await self._xds()
            try:
                launch: Launch = self.owner.sandbox.launch(self.spec)
            except ConfigProblem as problem:
                self._waiting("CreateContainerConfigError", str(problem))
                self.owner.note("Warning", "Failed", f"Error: {problem}")
                await self._pause(pause_s, lambda: True)
                continue
            present = f'Container image "{image}" already present on machine'
            self.owner.note("Normal", "Pulled", present)
            return command(launch, program)

    async def _bad_name(self, image: str, problem: str, pause_s: float) -> None:
        self.owner.note("Warning", "InspectFailed", problem)
        self.owner.note("Warning", "Failed", "Error: InvalidImageName")
        self._waiting("InvalidImageName", problem)
        await self._pause(pause_s, lambda: self.spec.get("image") != image)

    async def _no_image(self, image: str, pause_s: float) -> None:
        known = ", ".join(self.owner.context.images.repositories())
        reason = (
            f"the embedded lab has no program for this image; images that exist: {known}; "
            "for one of your own: meshlib lab up --images FILE"
        )
        message = f'failed to pull image "{image}": {reason}'
        if self.facts.state.get("waiting", {}).get("reason") != "ImagePullBackOff":
            self.owner.note("Normal", "Pulling", f'Pulling image "{image}"')
            self.owner.note("Warning", "Failed", f'Failed to pull image "{image}": {reason}')
            self.owner.note("Warning", "Failed", "Error: ErrImagePull")
            self._waiting("ErrImagePull", message)
            await self._pause(1.0, lambda: self.spec.get("image") != image)
            if self.spec.get("image") != image:
                return
        self.owner.note("Normal", "BackOff", f'Back-off pulling image "{image}"')
        self.owner.note("Warning", "Failed", "Error: ImagePullBackOff")
        self._waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}')
        await self._pause(pause_s, lambda: self.spec.get("image") != image)

    async def _xds(self) -> None:
        """Until istiod has written this proxy's first listeners and clusters."""
        folder = self.owner.context.xds_folder(self.owner.uid)
        begun_s, told = time.monotonic(), False
        pause_s = XDS_POLL_S
        while not all((folder / name).exists() for name in ("lds.json", "cds.json")):
            if not told and time.monotonic() - begun_s > XDS_PATIENCE_S:
                told = True
                message = (
                    "no configuration from istiod yet: is it running? (kubectl get pods -n istio-system)"
                )
                self._waiting("ContainerCreating", message)
                self.owner.note("Warning", "NoProxyConfiguration", message)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 0.5)

    async def _live(self, made: Command) -> int:
        """One life of the container; returns its exit code."""
        logs = self.owner.folder / "logs"
        path = logs / f"{self.name}.log"
        if path.exists():
            path.rename(path.with_name(path.name + ".previous"))
        env = {**made.env, **self.owner.context.mark()}
        process = await Process.start(made.argv, env, self.owner.folder, path)
        self.owner.context.records.add(process.pid)
        self.process = process
        self._lives += 1
        facts = self.facts
        facts.restarts = self._lives
        facts.container_id = f"meshlib://pid-{process.pid}"
        facts.state = {"running": {"startedAt": rfc3339(process.started_s)}}
        facts.started = "startupProbe" not in self.spec
        facts.ready = facts.started and "readinessProbe" not in self.spec
        if facts.started:
            self.begun.set()
        self.owner.note("Normal", "Created", f"Created container: {self.name}")
        self.owner.note("Normal", "Started", f"Started container {self.name}")
        self.owner.started()
        watcher = asyncio.create_task(self._probe(process), name=f"probes of {self.name}")
        if self._stopping:
            process.terminate()
        try:
            ended = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            watcher.cancel()
            self.process = None
        self._ended(ended)
        return ended.code

    def _ended(self, ended: Exit) -> None:
        state: Obj = {
            "exitCode": ended.code,
            "reason": "Completed" if ended.code == 0 else "Error",
            "startedAt": rfc3339(ended.started_s),
            "finishedAt": rfc3339(ended.finished_s),
            "containerID": self.facts.container_id,
        }
        if ended.signal:
            state["signal"] = ended.signal
        self._over({"terminated": state})

    def _not_started(self, problem: Exception, at_s: float) -> None:
        text = f"{problem.strerror}: {problem.filename}" if isinstance(problem, OSError) else str(problem)
        self._lives += 1
        self.facts.restarts = self._lives
        self.owner.note("Warning", "Failed", f"Error: failed to start container {self.name}: {text}")
        state = {"exitCode": START_ERROR, "reason": "StartError", "message": text}
        self._over({"terminated": {**state, "startedAt": rfc3339(at_s), "finishedAt": rfc3339(at_s)}})

    def _over(self, state: Obj) -> None:
        self.facts.state = state
        self.facts.ready = self.facts.started = False
        self.owner.changed()

    async def _wait_for_restart(self, pause_s: float) -> None:
        self.facts.last_state = self.facts.state
        if pause_s:
            meta = self.owner.pod["metadata"]
            where = f"{meta['name']}_{meta['namespace']}({self.owner.uid})"
            message = f"back-off {pause_s:g}s restarting failed container={self.name} pod={where}"
            if pause_s >= 60:
                minutes, seconds = divmod(int(pause_s), 60)
                message = message.replace(f"{pause_s:g}s", f"{minutes}m{seconds}s")
            self._waiting("CrashLoopBackOff", message)
            shown = f"Back-off restarting failed container {self.name} in pod {where}"
            self.owner.note("Warning", "BackOff", shown)
            await self._pause(pause_s)

    def _waiting(self, reason: str, message: str = "") -> None:
        self.facts.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self.owner.changed()

    async def _pause(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Sleep; a change wakes it to ask whether it is `done`. Raises CancelledError when it is to stop."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0 and not self._stopping:
            self.wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), left_s)
                if done():
                    break
        if self._stopping:
            raise asyncio.CancelledError

    def _resolve(self, port: int | str) -> tuple[str, int] | None:
        number = podspec.named_port(self.spec, port)
        return None if number is None else self.owner.sandbox.listening(self.spec, number)

    async def execute(self, argv: list[str]) -> asyncio.subprocess.Process:
        """Start `argv` beside the container, with its environment; its output comes through pipes."""
        env = {**(self.command.env if self.command else {}), **self.owner.context.mark()}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=self.owner.folder,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )

    async def execute_to_end(self, argv: list[str]) -> tuple[int, str]:
        try:
            child = await self.execute(argv)
        except OSError as error:
            return 127, f'exec: "{argv[0]}": {error.strerror}'
        try:
            out, err = await child.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)
            raise
        return child.returncode or 0, (out + err).decode(errors="replace").strip()

    async def _probe(self, process: Process) -> None:
        """The startup probe first, then readiness and liveness side by side, as long as the process lives."""
        if startup := self.spec.get("startupProbe"):
            async for ok in self._results(startup, "Startup", False):
                if ok:
                    break
                await self._restart_for(process, "startup")
            self.facts.started = True
            self.begun.set()
            self.facts.ready = "readinessProbe" not in self.spec
            self.owner.changed()
        async with asyncio.TaskGroup() as group:
            if readiness := self.spec.get("readinessProbe"):
                group.create_task(self._readiness(readiness))
            if liveness := self.spec.get("livenessProbe"):
                group.create_task(self._liveness(liveness, process))

    async def _readiness(self, probe: Obj) -> None:
        async for ok in self._results(probe, "Readiness", False):
            self.facts.ready = ok and not self._stopping
            self.owner.changed()

    async def _liveness(self, probe: Obj, process: Process) -> None:
        async for ok in self._results(probe, "Liveness", True):
            if not ok:
                await self._restart_for(process, "liveness")

    async def _restart_for(self, process: Process, kind: str) -> None:
        self.owner.note("Normal", "Killing", f"Container {self.name} failed {kind} probe, will be restarted")
        process.terminate()
        await asyncio.sleep(float(self.owner.pod["spec"].get("terminationGracePeriodSeconds", 30)))
        process.kill()

    def _results(self, probe: Obj, kind: str, initial: bool) -> AsyncIterator[bool]:
        async def once() -> probes.Outcome:
            return await probes.attempt(probe, self._resolve, self.execute_to_end)

        async def failed(text: str) -> None:
            if not self._stopping:
                self.owner.note("Warning", "Unhealthy", f"{kind} probe failed: {text}")

        return probes.results(probe, initial, once, failed)

    def log_path(self, previous: bool) -> Path:
        return self.owner.folder / "logs" / f"{self.name}.log{'.previous' if previous else ''}"
