"""Every need of a run in one table, each with what was found and the command that repairs it; nothing is
written.

`survey` asks the cluster and lets the pure functions of `findings` judge.  What cannot be asked (a server
that does not answer, a credential that is refused) is a row like any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pandas as pd

from meshlib.errors import ClusterError, MeshlibError, PreflightError
from meshlib.istio import findings, ingress, install, manifest, needs
from meshlib.istio.findings import FAIL, LATER, OK, WARN, Obj, Row
from meshlib.kube import guard
from meshlib.kube.apply import KEEP, MANAGER, is_ours, ours
from meshlib.kube.client import Cluster
from meshlib.kube.requests import permitted
from meshlib.parameters import Config

COLUMNS = ["Need", "Verdict", "Found", "Repair"]
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
INJECTORS = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
VALIDATORS = "validatingwebhookconfigurations.admissionregistration.k8s.io"


def survey(cfg: Config) -> pd.DataFrame:
    """All needs, one row each (Need, Verdict, Found, Repair).

    It ends with the first row that leaves nothing more to ask: a context that does not exist, no consent to
    write, a server that does not answer or is not trusted, a credential that is refused.
    """
    rows: list[Row] = []
    try:
        cluster = guard.connect(cfg)
        rows.append(("the kubeconfig and its context", OK, f"{cluster.context} in {cluster.kubeconfig}", ""))
    except MeshlibError as error:
        rows.append(("the kubeconfig and its context", FAIL, error.message, error.fix or ""))
        return pd.DataFrame(rows, columns=COLUMNS)
    try:
        accepted = _credential(cluster)
        rows.append(("the API server answers", OK, cluster.server, ""))
        rows.append(accepted)
    except ClusterError as error:
        rows.append(("the API server answers", FAIL, error.message, error.fix or ""))
    if all(row[1] != FAIL for row in rows):
        version = guard.server_version(cluster)
        rows += [findings.versions(cfg.istio_version, version), _namespaces(cluster, cfg)]
        rows += _cluster(cluster, cfg)
    return pd.DataFrame(rows, columns=COLUMNS)


def demand(survey: pd.DataFrame) -> None:
    """Raises `PreflightError` with every FAIL of a survey."""
    failed = survey[survey["Verdict"] == FAIL]
    if len(failed):
        lines = [f"{row.Need}: {row.Found}" for row in failed.itertuples()]
        raise PreflightError("\n".join(lines), fix=str(failed.iloc[0]["Repair"]) or None)


def _credential(cluster: Cluster) -> Row:
    need = "the credential is accepted"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    answer = cluster.send("POST", REVIEW, body=body)
    if answer.status == 401:
        return (
            need,
            FAIL,
            "401 Unauthorized: the token or certificate is expired or not of this cluster",
            (f"log in again; then kubectl --context {cluster.context} auth whoami"),
        )
    return need, OK, guard.whoami(cluster), ""


def _namespaces(cluster: Cluster, cfg: Config) -> Row:
    need = "the namespaces of the run may be written"
    names = [cfg.namespace, cfg.istio_namespace]
    outside = [each for each in names if not permitted(cluster.write_namespaces, each)]
    if cluster.read_only:
        return need, OK, "read-only: none is written", ""
    if outside:
        return (
            need,
            FAIL,
            f"not in write_namespaces: {', '.join(outside)}",
            (f"set write_namespaces: {','.join([*cluster.write_namespaces, *outside])}"),
        )
    return need, OK, ", ".join(cluster.write_namespaces) or "any (write_namespaces is empty)", ""


def _cluster(cluster: Cluster, cfg: Config) -> list[Row]:
    asks: Sequence[tuple[str, Callable[[], Sequence[Row]]]] = (
        ("the rights", lambda: [_rights(cluster, cfg)]),
        ("Istio", lambda: _istio(cluster, cfg)),
        ("names and hosts", lambda: _others(cluster, cfg)),
        ("nodes and images", lambda: _machines(cluster, cfg)),
        ("the ingress", lambda: _ways_in(cluster, cfg)),
        ("leftovers", lambda: [_leftovers(cluster, cfg)]),
    )
    rows: list[Row] = []
    for what, ask in asks:
        try:
            rows += ask()
        except PreflightError as error:
            rows.append((what, FAIL, error.message, error.fix or ""))
        except ClusterError as error:
            if error.status != 403:
                raise
            rows.append((what, WARN, f"may not be looked at: {error.message}", "see the row of rights"))
    return rows


def rights(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    """What the chosen notebooks may do: Verb, Resource, Namespace, Allowed, Reason, Needed (or of use only).

    The runner names its steps in `MESHLIB_STEPS`; without it the rights of all notebooks are asked for.
    """
    steps = [each for each in os.environ.get("MESHLIB_STEPS", "").split(",") if each]
    method, kept = "", False
    try:
        space = cluster.find("namespaces", cfg.namespace) or {"metadata": {}}
        kept = KEEP in (space["metadata"].get("annotations") or {})
        method, _ = install.choose(cluster, cfg)
    except PreflightError:  # the row about Istio says it
        method = ""
    except ClusterError as error:
        if error.status != 403:
            raise
    wanted = needs.rights(cfg, steps, method, kept=kept)
    return guard.may(cluster, wanted).assign(Needed=[not needs.optional(each, cfg) for each in wanted])


def _leftovers(cluster: Cluster, cfg: Config) -> Row:
    return findings.leftovers(ours(cluster, [cfg.namespace, cfg.istio_namespace])["Run"].tolist())


def _rights(cluster: Cluster, cfg: Config) -> Row:
    asked = rights(cluster, cfg)[["Verb", "Resource", "Namespace", "Allowed"]]
    return findings.rights([tuple(row) for row in asked.itertuples(index=False)], cluster.read_only)


def _istio(cluster: Cluster, cfg: Config) -> list[Row]:
    method, _ = install.choose(cluster, cfg)
    planes = install.control_planes(cluster, cfg.istio_namespace)
    injectors = [
        each
        for each in cluster.list(INJECTORS)
        if any("sidecar-injector.istio.io" in hook["name"] for hook in each["webhooks"])
    ]
    validators = [
        each
        for each in cluster.list(VALIDATORS)
        if any(hook["name"].endswith("istio.io") for hook in each["webhooks"])
    ]
    configurations = [*injectors, *validators]
    hooks = [
        (hook["name"], bool(hook["clientConfig"].get("caBundle")), _endpoints(cluster, hook))
        for each in configurations
        for hook in each["webhooks"]
        if hook["name"].endswith("istio.io")
    ]
    groups = {group: cluster.versions(group) for group in manifest.CRD_KINDS}
    zt = cluster.find("daemonsets.apps", "ztunnel", cfg.istio_namespace) is not None
    parts = [
        findings.revisions(planes, injectors),
        findings.served(groups, bool(planes)),
        findings.webhooks(hooks, bool(planes)),
    ]
    if method != "existing" and _is_ours(cluster, cfg, planes, configurations):
        parts = [findings.resumed(row) for row in parts]
    return [
        findings.control_plane(planes, method, cfg.istio_version, cfg.istio_upgrade),
        *parts,
        findings.ambient(cluster.find("namespaces", cfg.namespace), zt),
    ]


def _is_ours(
    cluster: Cluster, cfg: Config, planes: Sequence[dict[str, str]], configurations: Sequence[Obj]
) -> bool:
    """Whether all that there is of Istio comes from this project, so that step 01 goes on with it."""
    if install.noted(cluster, cfg.istio_namespace):
        return True
    return all(each["Installed by"] == MANAGER for each in planes) and all(map(is_ours, configurations))


def _endpoints(cluster: Cluster, hook: Obj) -> int:
    service = hook["clientConfig"].get("service")
    if service is None:  # a URL: whoever runs the control plane answers for it
        return 1
    found = cluster.find("endpoints", service["name"], service["namespace"]) or {}
    return sum(len(subset.get("addresses") or []) for subset in found.get("subsets") or [])


def _others(cluster: Cluster, cfg: Config) -> list[Row]:
    def named(resource: str, name: str) -> tuple[str, Obj | None]:
        title = f"{resource.partition('.')[0]} {cfg.namespace}/{name}"
        return title, cluster.find(resource, name, cfg.namespace)

    wanted = [
        (f"namespace {cfg.namespace}", cluster.find("namespaces", cfg.namespace)),
        named("deployments.apps", cfg.app),
        named("services", cfg.app),
    ]
    gateways: list[Obj] = []
    if cluster.versions("networking.istio.io"):
        gateways = _list(cluster, "gateways.networking.istio.io")
        wanted.append(named("gateways.networking.istio.io", cfg.gateway_name))
        wanted.append(named("virtualservices.networking.istio.io", cfg.virtual_service_name))
    return [findings.owners(wanted), findings.foreign_gateways(gateways, cfg.host)]


def _list(cluster: Cluster, resource: str, namespace: str | None = None) -> list[Obj]:
    try:
        return cluster.list(resource, namespace)
    except ClusterError as error:
        if error.status == 404:  # a kind whose definition is not installed
            return []
        raise


def _machines(cluster: Cluster, cfg: Config) -> list[Row]:
    found = cluster.list("nodes")
    pods = cluster.list("pods", cfg.namespace)
    return [findings.nodes(found), findings.image(cfg.image, found, pods)]


def _ways_in(cluster: Cluster, cfg: Config) -> list[Row]:
    services = cluster.list("services", cfg.istio_namespace)
    rows = [findings.load_balancer(services), findings.backend(services)]
    need = "a way to the ingress gateway"
    gateway = next((each for each in services if each["metadata"]["name"] == ingress.SERVICE), None)
    if gateway is None:
        return [*rows, (need, LATER, f"there is no Service {ingress.SERVICE} yet", "")]
    ways = ingress.candidates(gateway, cluster.list("nodes"), cfg.ingress_address)
    tried = [(way, address, why_not or ingress.answers(address)) for way, address, why_not in ways]
    works = [f"{way} {address}" for way, address, reason in tried if not reason]
    reasons = "; ".join(f"{way} {address}: {reason}" for way, address, reason in tried)
    if works:
        return [*rows, (need, OK, works[0], "")]
    # The gateway opens its port with the first Gateway; until then nothing answers, and rightly so.
    return [*rows, (need, LATER, f"{reasons}; step 05 tries again and takes a port-forward if it must", "")]
