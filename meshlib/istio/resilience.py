"""What tries a mesh's patience: a replica that fails, an upstream that is slow; and what that did to a load.

All of it works with any image: the failing replica's Service port leads to a port where nobody listens, and
the slow upstream is the gateway itself, asked once more under another name at which a delay is injected.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from meshlib import wait
from meshlib.istio import canary, ingress, objects, routing
from meshlib.istio.objects import Obj
from meshlib.istio.site import Site
from meshlib.load import LoadResult
from meshlib.parameters import Config
from meshlib.probe import Evidence

ATTEMPTS_HEADER = "x-attempts"
NOBODY_LISTENS = 8999
SITUATION = "situation"
# Envoy's timers follow a clock that ticks every few milliseconds: they may end before their time.
EARLY_MS = 20


def replicas(cfg: Config, app: str, count: int) -> Obj:
    """A Deployment `<app>-v1` with `count` sound pods."""
    made = canary.workload(cfg, app, "v1")
    made["spec"]["replicas"] = count
    return made


def deaf(cfg: Config, app: str) -> Obj:
    """A Deployment `<app>-deaf` with one pod that is ready, and whose port `http` is a mistake:
    nobody listens there, so its sidecar answers 503."""
    made = canary.workload(cfg, app, "deaf")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["ports"] = [
        {"name": "own", "containerPort": cfg.container_port},
        {"name": "http", "containerPort": NOBODY_LISTENS},
    ]
    for probe in ("readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["port"] = "own"
    return made


def rule(path: str, app: str, port: int, **more: object) -> Obj:
    """A rule that publishes `/healthz` of `app` as `path`; the answer's header `x-attempts` says how often
    the gateway tried.  `more` are further fields of the rule: `timeout`, `retries`, `fault`."""
    attempts = {ATTEMPTS_HEADER: "%REQ(X-ENVOY-ATTEMPT-COUNT)%"}
    return {
        "match": [{"uri": {"exact": path}}],
        "rewrite": {"uri": "/healthz"},
        "headers": {"response": {"set": attempts}},
        "route": [{"destination": routing.destination(app, port)}],
        **more,
    }


def delay(milliseconds: int, percent: float) -> Obj:
    """A fault that holds `percent` of the requests back."""
    return {"delay": {"fixedDelay": f"{milliseconds}ms", "percentage": {"value": percent}}}


def abort(status: int, percent: float) -> Obj:
    """A fault that answers `percent` of the requests with `status`, without asking anybody."""
    return {"abort": {"httpStatus": status, "percentage": {"value": percent}}}


def slow_hop(cfg: Config, app: str, milliseconds: int) -> list[Obj]:
    """A Gateway (plain HTTP) and a VirtualService for `slow.<host>`, where every request is held back."""
    name, host = f"{app}-slow", f"slow.{cfg.host}"
    server = {"port": {"name": name, "number": 80, "protocol": "HTTP"}, "hosts": [host]}
    gateway = {
        "apiVersion": objects.NETWORKING,
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": cfg.namespace},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }
    held = {
        "fault": delay(milliseconds, 100),
        "route": [{"destination": routing.destination(app, cfg.service_port)}],
    }
    return [
        gateway,
        objects.virtual_service(name, cfg.namespace, hosts=[host], gateways=[name], http=[held]),
    ]


def through_slow_hop(rule_: Obj, cfg: Config) -> Obj:
    """The rule with the slow hop as its upstream: back to the gateway, as `slow.<host>`."""
    again = routing.destination(f"{ingress.SERVICE}.{cfg.istio_namespace}.svc.cluster.local", 80)
    rewrite = {**rule_["rewrite"], "authority": f"slow.{cfg.host}"}
    return {**rule_, "rewrite": rewrite, "route": [{"destination": again}]}


def attempts(site: Site, path: str, requests: int) -> pd.DataFrame:
    """How often the gateway tried, over some requests one after the other: Status, Attempts, Requests."""
    seen = [site.get(path) for _ in range(requests)]
    found = Counter((each.outcome, each.headers.get(ATTEMPTS_HEADER, "")) for each in seen)
    rows = [(*key, count) for key, count in sorted(found.items())]
    return pd.DataFrame(rows, columns=["Status", "Attempts", "Requests"])


def steady(site: Site, path: str, *, answers: int = 20, timeout_s: float = 60.0) -> None:
    """Wait until `answers` requests in a row are answered with 200."""

    def probe() -> None:
        for number in range(answers):
            seen = site.get(path)
            if seen.status != 200:
                raise wait.NotYet(f"answer {number + 1} of {answers}: {seen.outcome}")

    wait.until(probe, f"{answers} answers in a row from {path}", timeout_s=timeout_s)


def traced(site: Site, path: str) -> tuple[str, Evidence]:
    """One request that says of itself that it is to be traced; its trace id and its evidence."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {
        "traceparent": f"00-{trace_id}-{span_id}-01",
        "x-b3-traceid": trace_id,
        "x-b3-spanid": span_id,
        "x-b3-sampled": "1",
    }
    return trace_id, site.get(path, headers=headers)


def first_traced(
    site: Site, path: str, holds: Callable[[Evidence], bool], *, tries: int = 100
) -> tuple[str, Evidence]:
    """The first of at most `tries` traced requests whose evidence `holds`; else the last one."""
    for _ in range(tries):
        trace_id, seen = traced(site, path)
        if holds(seen):
            break
    return trace_id, seen


def refused(site: Site, path: str) -> tuple[str, Evidence]:
    """A traced request that was answered 503."""
    return first_traced(site, path, lambda seen: seen.status == 503)


def retried(site: Site, path: str) -> tuple[str, Evidence]:
    """A traced request that took the gateway more than one attempt."""
    return first_traced(site, path, lambda seen: seen.headers.get(ATTEMPTS_HEADER, "1") != "1")


def flags(spans: pd.DataFrame, gateway: str) -> pd.DataFrame:
    """The response flags that the gateway noted, by trace: trace_id, Flags (`-` where it noted none)."""
    own = spans[(spans["service"] == gateway) & spans["flags"].notna()]
    noted = own.assign(flags=own["flags"].astype("str")).groupby("trace_id", sort=False)["flags"]
    table = noted.agg(lambda found: ", ".join(sorted(set(found) - {"-", ""})) or "-")
    return table.rename("Flags").reset_index()


def samples(results: Sequence[tuple[str, LoadResult]]) -> pd.DataFrame:
    """Every request of every load: situation, at_s, status, duration_ms, error (empty where an answer
    came)."""
    parts = [
        pd.DataFrame(
            {
                SITUATION: name,
                "at_s": result.requests["started_s"],
                "status": result.requests["status"],
                "duration_ms": result.requests["latency_ms"],
                "error": result.requests["error"].astype("str"),
            }
        )
        for name, result in results
    ]
    return pd.concat(parts, ignore_index=True)


def effects(measured: pd.DataFrame) -> pd.DataFrame:
    """What each situation did to its load: Situation, Requests, Answers (status × count), Failed (%), p50 and
    p99 (ms)."""
    rows = []
    for name, group in measured.groupby(SITUATION, sort=False):
        counts = group["status"].value_counts().sort_index()
        answers = ", ".join(f"{status} × {count}" for status, count in counts.items())
        failed = round(100 * float((group["status"] != 200).mean()), 2)
        middle, high = group["duration_ms"].quantile(0.5), group["duration_ms"].quantile(0.99)
        rows.append((name, len(group), answers, failed, round(middle, 2), round(high, 2)))
    columns = ["Situation", "Requests", "Answers", "Failed (%)", "p50 (ms)", "p99 (ms)"]
    return pd.DataFrame(rows, columns=columns)


def by_time(measured: pd.DataFrame, *, slice_s: float = 0.5) -> pd.DataFrame:
    """Failures in equal slices of time: Since start (s), Requests, Failed (%)."""
    at = (measured["at_s"] // slice_s) * slice_s
    failed = measured["status"] != 200
    grouped = failed.groupby(at)
    table = pd.DataFrame({"Requests": grouped.size(), "Failed (%)": (100 * grouped.mean()).round(1)})
    return table.rename_axis("Since start (s)").reset_index()


def health(clusters: Obj, app: str) -> pd.DataFrame:
    """What Envoy's admin says of the endpoints of a Service (`/clusters?format=json`): Endpoint,
    Outlier check (`ok` or `failed`)."""
    rows = []
    for found in clusters["cluster_statuses"]:
        if f"|{app}." not in found["name"]:
            continue
        for host in found.get("host_statuses", []):
            at = host["address"]["socket_address"]
            out = host.get("health_status", {}).get("failed_outlier_check", False)
            rows.append((f"{at['address']}:{at['port_value']}", "failed" if out else "ok"))
    return pd.DataFrame(rows, columns=["Endpoint", "Outlier check"])
