"""Routes on trial: built and predicted (pure), then put beside the site's own routes and waited for.

The routes stand in a VirtualService of their own for the same host and Gateway.  istiod joins the lists of
both, oldest first, so the site's own routes are never touched.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import pandas as pd

from meshlib import wait
from meshlib.errors import WaitTimeout
from meshlib.istio import convergence, mesh, objects, proxies
from meshlib.istio.convergence import Convergence
from meshlib.istio.objects import Obj
from meshlib.istio.site import Site
from meshlib.istio.trial import Trial
from meshlib.kube.client import Cluster
from meshlib.parameters import Config
from meshlib.probe import Evidence

FOLDER = "/try"
BEACON = f"{FOLDER}/beacon"
LOG_S = 15.0


def answering(name: str, *matches: Obj, status: int = 200) -> Obj:
    """A rule that the gateway answers itself, with the rule's own name as body."""
    return {
        "name": name,
        "match": list(matches),
        "directResponse": {"status": status, "body": {"string": name}},
    }


def destination(host: str, port: int, subset: str = "") -> Obj:
    """A destination; `subset` is one of a DestinationRule's."""
    return {"host": host, "port": {"number": port}} | ({"subset": subset} if subset else {})


def destination_rule(
    name: str, namespace: str, *, versions: Sequence[str] = (), policy: Obj | None = None
) -> Obj:
    """A DestinationRule for the Service of the same name: a subset for each version label, a traffic
    policy."""
    spec: Obj = {"host": name}
    if policy:
        spec["trafficPolicy"] = policy
    if versions:
        spec["subsets"] = [{"name": each, "labels": {"version": each}} for each in versions]
    return {
        "apiVersion": objects.NETWORKING,
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def first_match(http: Sequence[Obj], target: str, headers: Mapping[str, str] | None = None) -> str:
    """The name of the rule that takes a GET of `target` (path and query), "" when none does.

    The documented rule: the list in its order, the first rule wins; the entries of `match` are alternatives,
    the conditions of one entry must all hold; a rule without `match` takes everything.
    """
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    for rule in http:
        entries = rule.get("match")
        if not entries or any(_holds(entry, parts.path, sent, query) for entry in entries):
            return str(rule.get("name", ""))
    return ""


def _holds(entry: Obj, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    wanted: list[tuple[Obj, str | None]] = [(entry["uri"], path)] if "uri" in entry else []
    wanted += [(how, headers.get(name)) for name, how in entry.get("headers", {}).items()]
    wanted += [(how, query.get(name)) for name, how in entry.get("queryParams", {}).items()]
    without = [(how, headers.get(name)) for name, how in entry.get("withoutHeaders", {}).items()]
    return all(_fits(*each) for each in wanted) and not any(_fits(*each) for each in without)


def _fits(how: Mapping[str, str], value: str | None) -> bool:
    """StringMatch: `exact` is the whole text, `prefix` its beginning, `regex` must match all of it."""
    if value is None:
        return False
    if "exact" in how:
        return value == how["exact"]
    if "prefix" in how:
        return value.startswith(how["prefix"])
    return re.fullmatch(how["regex"], value) is not None if "regex" in how else True


def asked(
    site: Site, http: Sequence[Obj], requests: Sequence[str], headers: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """What the documentation says and what the gateway does, a row a request: Request, Predicted, Answered,
    Status."""
    rows = []
    for target in requests:
        seen = site.get(target, headers=headers)
        named = seen.text if seen.status == 200 else ""
        rows.append(
            (target, first_match(http, target, headers) or "no rule", named or "no rule", seen.outcome)
        )
    return pd.DataFrame(rows, columns=["Request", "Predicted", "Answered", "Status"])


class Routes:
    """The routes on trial.  Each change carries a new beacon, a route that answers with the number of the
    change: all routes of a gateway change at once, so when the beacon shows, the whole list is live."""

    def __init__(self, trial: Trial, cfg: Config, site: Site) -> None:
        self._trial, self._cfg, self._site = trial, cfg, site
        self._run = uuid.uuid4().hex[:8]
        self._rows: list[tuple[str, float, int]] = []

    def virtual_service(self, http: Sequence[Obj]) -> Obj:
        """The VirtualService with these routes, as it is applied but for the beacon."""
        cfg = self._cfg
        name = f"{cfg.virtual_service_name}-{self._trial.name}"
        return objects.virtual_service(
            name, cfg.namespace, hosts=[cfg.host], gateways=[cfg.gateway_name], http=http
        )

    def change(self, what: str, http: Sequence[Obj], *others: Obj) -> Convergence:
        """Apply `others`, then the routes, and wait until they show at the gateway; milliseconds count from
        the API server's answer to the last of them."""
        mark = f"{self._run}-{len(self._rows)}"
        beacon = answering(mark, {"uri": {"exact": BEACON}})
        self._trial.apply(*others, self.virtual_service([beacon, *http]))
        return self._live(what, lambda seen: seen.text == mark)

    def end(self) -> Convergence:
        """Delete everything of the trial and wait until the gateway has forgotten its routes."""
        self._trial.end()
        return self._live("the end", lambda seen: seen.status == 404)

    def _live(self, what: str, holds: Callable[[Evidence], bool]) -> Convergence:
        started = time.monotonic()
        live = convergence.until(
            lambda: self._site.get(BEACON),
            holds,
            f"{what} at the gateway",
            started=started,
            timeout_s=self._cfg.timeout_s,
        )
        self._rows.append((what, round(live.ms, 1), live.tries))
        return live

    @property
    def table(self) -> pd.DataFrame:
        """Every change so far: Change, Live after (ms), Requests."""
        return pd.DataFrame(self._rows, columns=["Change", "Live after (ms)", "Requests"])


def access_log_on(cluster: Cluster, cfg: Config) -> bool:
    """Whether the mesh configuration makes proxies write an access log (the profile `demo` does)."""
    return bool(mesh.read(cluster, cfg.istio_namespace).config.get("accessLogFile"))


def logged(
    cluster: Cluster, namespace: str, labels: str, mark: str, *, timeout_s: float = LOG_S
) -> list[str]:
    """The lines of the sidecars' access logs that hold `mark`, once there is one; none after `timeout_s`."""

    def probe() -> list[str]:
        pods = cluster.list("pods", namespace, labels=labels, fields="status.phase=Running")
        names = [pod["metadata"]["name"] for pod in pods]
        texts = [cluster.logs(name, namespace, container=proxies.CONTAINER) for name in names]
        found = [line for text in texts for line in text.splitlines() if mark in line]
        if not found:
            raise wait.NotYet(f"no line with {mark} in the logs of {', '.join(names) or 'no pod'}")
        return found

    try:
        return wait.until(probe, f"{mark} in an access log", timeout_s=timeout_s, interval_s=0.2)
    except WaitTimeout:
        return []
