"""The Jaeger client: any version, whatever its base path, all traces of a window.

Newer versions removed the legacy search (`/api/services`, `/api/traces`); `/api/v3` is used where it is
missing. Jaeger cuts a search off at its limit without saying so: a window whose answer is full is asked
again in halves.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError
from meshlib.traces import frames, wire
from meshlib.traces.transport import Transport

BASE_PATHS = ("", "/jaeger")  # the addon's QUERY_BASE_PATH is /jaeger
PAGE = 1000  # traces asked for at once; backends have been seen to stop at 1,500
NARROWEST_US = 1000  # a window this narrow is not split again
LEGACY, V3 = "/api", "/api/v3"


class Jaeger:
    """Jaeger behind a transport. Times are Unix µs (integers) or aware datetimes.

    `base_paths` are tried in order.
    """

    def __init__(
        self, transport: Transport, *, page: int = PAGE, base_paths: Sequence[str] = BASE_PATHS
    ) -> None:
        self._transport = transport
        self._base_paths = tuple(dict.fromkeys(base_paths))
        self._page = page
        self._found: tuple[str, str] | None = None

    @property
    def api(self) -> str:
        """The path of the API that answers: '/api', '/jaeger/api', '/api/v3' or '/jaeger/api/v3'.

        Raises `ClusterError` with what each of them said when none does.
        """
        base, kind = self._where()
        return base + kind

    def _where(self) -> tuple[str, str]:
        if self._found is None:
            said: list[str] = []
            for kind, member in ((LEGACY, "data"), (V3, "services")):
                for base in self._base_paths:
                    status, body = self._transport.get(f"{base}{kind}/services")
                    if status == 200 and _has(body, member):
                        self._found = (base, kind)
                        return self._found
                    said.append(f"{base}{kind}/services → {status}")
            raise ClusterError(
                f"no Jaeger query API found: {', '.join(said)}",
                fix="kubectl get svc,pods -n istio-system -l app=jaeger",
            )
        return self._found

    def services(self) -> list[str]:
        """The names of all services that have sent spans."""
        _, kind = self._where()
        return wire.names(self._get("/services"), "services" if kind == V3 else None)

    def operations(self, service: str) -> list[str]:
        """The names of a service's operations."""
        _, kind = self._where()
        body = self._get("/operations", {"service": service})
        return wire.names(body, "operations" if kind == V3 else None)

    def spans(
        self,
        service: str,
        start: datetime | int,
        end: datetime | int,
        *,
        operation: str | None = None,
        tags: dict[str, str] | None = None,
        columns: Sequence[str] = (),
    ) -> pd.DataFrame:
        """All spans of all traces that touch `service` between `start` and `end`: one row a span.

        `columns` names further tags that become columns; see `frames.spans` for the others.
        """
        found = wire.Columns(tags=tuple(columns))
        wanted = {"operation": operation, "tags": json.dumps(tags) if tags else None}
        self._window(found, service, unix_us(start), unix_us(end), wanted)
        return frames.spans(found)

    def by_id(self, trace_ids: Iterable[str], *, columns: Sequence[str] = ()) -> pd.DataFrame:
        """The spans of these traces, as far as Jaeger has them."""
        found = wire.Columns(tags=tuple(columns))
        _, kind = self._where()
        for trace_id in trace_ids:
            status, body = self._transport.get(f"{self.api}/traces/{trace_id}")
            if status != 404:
                self._add(found, kind, status, body)
        return frames.spans(found)

    def wait_for(
        self,
        service: str,
        start: datetime | int,
        *,
        traces: int | None = None,
        trace_ids: Collection[str] = (),
        spans_each: int = 1,
        timeout_s: float = 30.0,
    ) -> pd.DataFrame:
        """The spans since `start`, once `traces` traces or all of `trace_ids` have `spans_each` spans.

        Proxies send spans in batches and late. Raises `WaitTimeout` with what was missing last.
        """

        def complete() -> pd.DataFrame:
            found = self.spans(service, start, datetime.now(UTC))
            sizes = found.groupby("trace_id", observed=True).size()
            whole = set(sizes[sizes >= spans_each].index)
            missing = set(trace_ids) - whole
            if missing:
                raise wait.NotYet(
                    f"{len(missing)} of {len(trace_ids)} traces missing or short, {min(missing)} is one"
                )
            if traces is not None and len(whole) < traces:
                raise wait.NotYet(
                    f"{len(whole)} of {traces} traces of {service} with {spans_each} spans or more"
                )
            return found

        return wait.until(
            complete, f"the traces of {service}", timeout_s=timeout_s, interval_s=0.2, max_interval_s=2.0
        )

    def _window(
        self, found: wire.Columns, service: str, start_us: int, end_us: int, wanted: dict[str, str | None]
    ) -> None:
        _, kind = self._where()
        given = {name: value for name, value in wanted.items() if value}
        if kind == V3:
            params: dict[str, object] = {
                "query.service_name": service,
                "query.start_time_min": _rfc3339(start_us),
                "query.start_time_max": _rfc3339(end_us),
                "query.num_traces": self._page,
            }
            params |= {
                {"operation": "query.operation_name", "tags": "query.attributes"}[k]: v
                for k, v in given.items()
            }
        else:
            params = {"service": service, "start": start_us, "end": end_us, "limit": self._page, **given}
        status, body = self._transport.get(f"{self.api}/traces", params)
        if kind == V3 and status == 404:
            return
        count = self._add(found, kind, status, body)
        if count >= self._page and end_us - start_us > NARROWEST_US:
            middle = (start_us + end_us) // 2
            self._window(found, service, start_us, middle, wanted)
            self._window(found, service, middle + 1, end_us, wanted)

    def _add(self, found: wire.Columns, kind: str, status: int, body: bytes) -> int:
        if status != 200:
            raise ClusterError(
                f"Jaeger answered {status}: {body[:300].decode('utf-8', 'replace')}", status=status
            )
        return found.add_v3(body) if kind == V3 else found.add_legacy(body)

    def _get(self, path: str, params: dict[str, object] | None = None) -> bytes:
        status, body = self._transport.get(self.api + path, params)
        if status != 200:
            raise ClusterError(
                f"Jaeger answered {status}: {body[:300].decode('utf-8', 'replace')}", status=status
            )
        return body


def unix_us(at: datetime | int) -> int:
    """Unix µs of a moment."""
    return at if isinstance(at, int) else round(at.timestamp() * 1_000_000)


def _rfc3339(at_us: int) -> str:
    seconds, micros = divmod(at_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{micros:06d}Z"


def _has(body: bytes, member: str) -> bool:
    """Whether the body is a JSON object with the member; below a wrong base path Jaeger sends a web page."""
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and member in document
