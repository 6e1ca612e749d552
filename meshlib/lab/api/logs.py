"""GET of a pod's log: the container's file, as much of it as was asked for, and what is written later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from .call import Call
from .errors import StatusError, bad_request, invalid
from .node import Node
from .request import Query
from .store import Obj

POLL_S = 0.1
CHUNK = 64 * 1024
LONGEST_S = 100 * 366 * 86400  # older than any line


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is wanted; `since` is the oldest time of a line."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


def log_options(query: Query, pod: str = "") -> LogOptions:
    """Raises StatusError 400, 422."""
    causes: list[tuple[str, str, str]] = []
    numbers = {name: query.number(name) for name in ("tailLines", "sinceSeconds", "limitBytes")}
    least = {"tailLines": 0, "sinceSeconds": 1, "limitBytes": 1}
    for name, number in numbers.items():
        if number is not None and number < least[name]:
            rule = "greater than or equal to 0" if least[name] == 0 else "greater than 0"
            message = f"Invalid value: {number}: must be {rule}"
            causes.append((name, "FieldValueInvalid", message))
    since_time = query.text("sinceTime")
    if since_time and numbers["sinceSeconds"] is not None:
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(("", "FieldValueForbidden", message))
    if causes:
        raise invalid("", "PodLogOptions", pod, causes)
    since = None
    if since_time:
        try:
            since = datetime.fromisoformat(since_time)
            if since.tzinfo is None:
                raise ValueError("no time zone")
        except ValueError as error:
            text = f'parsing time "{since_time}" as "2006-01-02T15:04:05Z07:00": cannot parse'
            raise bad_request(text) from error
    elif numbers["sinceSeconds"] is not None:
        since = datetime.now(UTC) - timedelta(seconds=min(numbers["sinceSeconds"], LONGEST_S))
    return LogOptions(
        query.text("container"),
        query.flag("follow"),
        query.flag("previous"),
        query.flag("timestamps"),
        since,
        numbers["tailLines"],
        numbers["limitBytes"],
    )


def container_of(pod: Obj, asked: str) -> str:
    """The container whose log is meant; raises StatusError 400 in the words of a real server."""
    name = pod["metadata"]["name"]
    spec = pod["spec"]
    names = [each["name"] for each in spec["containers"]]
    init = [each["name"] for each in spec.get("initContainers") or []]
    if asked:
        if asked in (*names, *init):
            return asked
        raise bad_request(f"container {asked} is not valid for pod {name}")
    if len(names) == 1:
        return str(names[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(text)


async def pod_log(call: Call, node: Node | None) -> Response:
    """Lines of the file start with their time (RFC 3339, nanoseconds) and a space."""
    options = log_options(call.query, call.target.name or "")
    pod = call.registry.get("pods", call.target.namespace, call.target.name or "")
    container = container_of(pod, options.container)
    if node is None or not pod["spec"].get("nodeName"):
        return Response(b"", media_type="text/plain")
    _check_started(pod, container, options)
    path = node.log_file(pod, container, options.previous)
    stream = _stream(path, options, lambda: _running(call, container), call.closing)
    return StreamingResponse(stream, media_type="text/plain")


def _check_started(pod: Obj, container: str, options: LogOptions) -> None:
    status = pod.get("status") or {}
    found = [
        each
        for key in ("containerStatuses", "initContainerStatuses")
        for each in status.get(key) or []
        if each["name"] == container
    ]
    state = found[0] if found else {}
    name = pod["metadata"]["name"]
    if options.previous and not (state.get("lastState") or {}).get("terminated"):
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    waiting = (state.get("state") or {}).get("waiting")
    if (not found or waiting) and not (state.get("lastState") or {}).get("terminated"):
        reason = (waiting or {}).get("reason", "ContainerCreating")
        why = "trying and failing to pull image" if reason in ("ImagePullBackOff", "ErrImagePull") else reason
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {why}')


def _running(call: Call, container: str) -> bool:
    try:
        pod = call.registry.get("pods", call.target.namespace, call.target.name or "")
    except StatusError:
        return False
    status = pod.get("status") or {}
    for key in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(key) or []:
            if each["name"] == container:
                return "running" in (each.get("state") or {})
    return False


async def _stream(
    path: Path, options: LogOptions, running: Callable[[], bool], closing: asyncio.Event
) -> AsyncIterator[bytes]:
    left = options.limit_bytes
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        _skip_to_tail(file, options.tail_lines)
        part = b""
        while True:
            chunk = file.read(CHUNK)
            if chunk:
                *lines, part = (part + chunk).split(b"\n")
                shown = b"".join(each for line in lines if (each := _line(line, options)) is not None)
            elif options.follow and not closing.is_set() and running():
                await asyncio.sleep(POLL_S)
                continue
            else:
                last = file.read(CHUNK) if options.follow else b""
                if last:
                    part += last
                    continue
                shown = _line(part, options) or b"" if part else b""
                if left is not None:
                    shown = shown[:left]
                if shown:
                    yield shown.rstrip(b"\n")
                return
            if left is not None:
                shown = shown[:left]
                left -= len(shown)
            if shown:
                yield shown
            if left == 0:
                return


def _line(line: bytes, options: LogOptions) -> bytes | None:
    stamp, _, text = line.partition(b" ")
    if options.since is not None:
        try:
            written = datetime.fromisoformat(stamp.decode()[:26].rstrip("Z") + "+00:00")
        except ValueError:
            return None
        if written < options.since:
            return None
    return (line if options.timestamps else text) + b"\n"


def _skip_to_tail(file: BufferedReader, lines: int | None) -> None:
    """Move to the start of the last `lines` lines, reading the file from its end."""
    if lines is None:
        return
    end = file.seek(0, 2)
    at, found = end, 0
    while at > 0:
        size = min(CHUNK, at)
        at -= size
        file.seek(at)
        chunk = file.read(size)
        if at + size == end and chunk.endswith(b"\n"):
            chunk = chunk[:-1]
        while (cut := chunk.rfind(b"\n")) >= 0:
            found += 1
            if found >= max(lines, 0) and lines > 0:
                file.seek(at + cut + 1)
                return
            chunk = chunk[:cut]
    file.seek(0 if lines > 0 else end)
