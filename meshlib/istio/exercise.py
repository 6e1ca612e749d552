"""The ten requests of the exercise's last step, and what each answer means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from meshlib import wait
from meshlib.istio import ingress, objects, proxies
from meshlib.istio.site import Site
from meshlib.kube.client import Cluster
from meshlib.parameters import Config
from meshlib.probe import Evidence, fetch

PATHS = (
    "/healthz", "/healthz", "/healthz", "/metrics", "/getVersion",
    "/metrics", "/healthz", "/metrics", "/healthz", "/metrics",
)  # fmt: skip
"""In their order; the first one is sent without the CA's certificate, as the exercise's first curl is
without -k."""


def replay(site: Site) -> pd.DataFrame:
    """Send the ten: No., Path, Verified with, Status, Answered by, Why."""
    answers = []
    for number, path in enumerate(PATHS):
        if number == 0:
            url = f"https://{site.host}{path}"
            answers.append((path, "system roots", fetch(url, address=site.ingress.address)))
        else:
            answers.append((path, "the lab's CA", site.get(path)))
    rows = [
        (number, path, trust, seen.status or seen.error, *explain(seen))
        for number, (path, trust, seen) in enumerate(answers, 1)
    ]
    return pd.DataFrame(rows, columns=["No.", "Path", "Verified with", "Status", "Answered by", "Why"])


def explain(seen: Evidence) -> tuple[str, str]:
    """Who answered and why, read from the answer itself.

    Envoy adds `x-envoy-upstream-service-time` only when an upstream answered; a 404 without it is the
    gateway's own.
    """
    if seen.error_code == 60:
        return "nobody", "the client refused the certificate: no root it knows has signed it"
    if seen.error:
        return "nobody", seen.error
    took = seen.headers.get("x-envoy-upstream-service-time")
    if took is not None:
        return "the HTTP server", f"a route matched; the server took {took} ms"
    if seen.status == 404:
        return "the gateway", "no route matches this path (response flag NR)"
    return "the gateway", f"{seen.status} without an upstream"


def counts(replayed: pd.DataFrame) -> dict[str, int]:
    """How often each status came, errors as `refused`."""
    kinds: Iterable[str] = (str(s) if isinstance(s, int) else "refused" for s in replayed["Status"])
    return dict(sorted(Counter(kinds).items()))


def virtual_service(cfg: Config, paths: Sequence[str]) -> objects.Obj:
    """The exercise's VirtualService with exactly these paths routed to the HTTP server."""
    return objects.virtual_service(
        cfg.virtual_service_name,
        cfg.namespace,
        hosts=[cfg.host],
        gateways=[cfg.gateway_name],
        http=objects.exact_routes(paths, cfg.app, cfg.service_port),
    )


def access_log(cluster: Cluster, cfg: Config, flag: str, *, timeout_s: float = 15.0) -> str:
    """The last line of the gateway's access log with this response flag (`NR`: no route).

    Envoy writes its log in batches, so the line may take seconds.  Raises `WaitTimeout` when none comes.
    """
    pod = ingress.gateway_pod(cluster, cfg.istio_namespace)

    def last() -> str:
        text = cluster.logs(pod, cfg.istio_namespace, container=proxies.CONTAINER, tail=5000)
        found = [line for line in text.splitlines() if f" {flag} " in line]
        if not found:
            raise wait.NotYet(f"no line with {flag} among {text.count(chr(10))}")
        return found[-1]

    return wait.until(last, f"an access log line with {flag}", timeout_s=timeout_s, interval_s=0.5)


def server(cfg: Config, *, image: str = "") -> list[objects.Obj]:
    """The HTTP server: service account, ConfigMap with the greeting, Deployment (of another `image`, where
    given)."""
    config = f"{cfg.app}-conf"
    return [
        objects.service_account(cfg.app, cfg.namespace),
        objects.config_map(config, cfg.namespace, {objects.GREETING_FILE: f"{cfg.greeting}\n"}),
        objects.deployment(
            cfg.app,
            cfg.namespace,
            image=image or cfg.image,
            replicas=cfg.replicas,
            port=cfg.container_port,
            config=config,
        ),
    ]
