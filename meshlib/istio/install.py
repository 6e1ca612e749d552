"""Install Istio by the tool that the cluster's users use, and say what is installed and by whom.

| method | what it does |
|---|---|
| manifest | applies our own objects of the demo profile; only the embedded lab has programs for its images |
| istioctl | runs `istioctl install` of exactly the wanted version, from PATH or fetched |
| helm | runs `helm upgrade --install` for base, istiod and the gateways |
| existing | installs nothing, checks that the version fits |
"""

from __future__ import annotations

import shutil

import pandas as pd

from meshlib import wait
from meshlib.errors import ClusterError, PreflightError
from meshlib.istio import manifest, tools
from meshlib.kube import guard, rollout
from meshlib.kube.apply import MANAGED_BY, MANAGER, RUN_ID, apply
from meshlib.kube.client import Cluster, Obj
from meshlib.parameters import Config

LAB_RUNTIME = "meshlib-lab://"
GATEWAYS = ("istio-ingressgateway", "istio-egressgateway")
INSTALLED_BY = "meshlib.dev/istio-installed-by"
NAMESPACE_MADE = "meshlib.dev/namespace-made"
CHARTS = "https://istio-release.storage.googleapis.com/charts"


def installed(cluster: Cluster, namespace: str) -> pd.DataFrame:
    """The control planes in `namespace`, one row each: Revision, Version, Deployment, Installed by."""
    try:
        found = cluster.list("deployments.apps", namespace, labels="app=istiod")
    except ClusterError as error:
        if error.status != 404:
            raise
        found = []
    rows = [
        (
            each["metadata"].get("labels", {}).get("istio.io/rev", ""),
            version_of(each),
            each["metadata"]["name"],
            installer(each),
        )
        for each in found
    ]
    if not rows:
        rows = [(name, "", "", "managed") for name in _managed(cluster)]
    return pd.DataFrame(rows, columns=["Revision", "Version", "Deployment", "Installed by"])


def control_planes(cluster: Cluster, namespace: str) -> list[dict[str, str]]:
    """The rows of `installed` as dictionaries."""
    return [
        {str(key): str(value) for key, value in row.items()}
        for row in installed(cluster, namespace).to_dict("records")
    ]


def _managed(cluster: Cluster) -> list[str]:
    """Revisions whose injector is a URL outside the cluster: somebody else runs the control plane."""
    found = cluster.list("mutatingwebhookconfigurations.admissionregistration.k8s.io")
    return sorted(
        {
            (each["metadata"].get("labels") or {}).get("istio.io/rev", "default")
            for each in found
            for hook in each["webhooks"]
            if hook["name"].endswith("istio.io") and "url" in hook["clientConfig"]
        }
    )


def webhooks(cluster: Cluster) -> pd.DataFrame:
    """Istio's webhooks: Kind, Configuration, Webhook, Failure policy, CA bundle (`yes`, `no`: no call can
    succeed)."""
    rows = [
        (
            kind,
            each["metadata"]["name"],
            hook["name"],
            hook.get("failurePolicy", ""),
            "yes" if hook["clientConfig"].get("caBundle") else "no",
        )
        for kind in ("mutating", "validating")
        for each in cluster.list(f"{kind}webhookconfigurations.admissionregistration.k8s.io")
        for hook in each["webhooks"]
        if hook["name"].endswith("istio.io")
    ]
    return pd.DataFrame(rows, columns=["Kind", "Configuration", "Webhook", "Failure policy", "CA bundle"])


def version_of(deployment: Obj) -> str:
    """The tag of the first container's image: `docker.io/istio/pilot:1.30.5` → `1.30.5`."""
    image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
    return image.rsplit("/", 1)[-1].partition(":")[2].partition("@")[0].partition("-")[0]


def installer(deployment: Obj) -> str:
    """Who made a control plane, by its labels: meshlib, Helm, istioctl or unknown."""
    labels = deployment["metadata"].get("labels", {})
    if labels.get(MANAGED_BY) == MANAGER:
        return MANAGER
    if labels.get(MANAGED_BY) == "Helm":
        return "Helm"
    return "istioctl" if "operator.istio.io/component" in labels else "unknown"


def noted(cluster: Cluster, namespace: str) -> str:
    """The tool with which this project installed Istio, or began to, by the note on its namespace; "" for
    none."""
    found = cluster.find("namespaces", namespace) or {"metadata": {}}
    return str((found["metadata"].get("annotations") or {}).get(INSTALLED_BY, ""))


def choose(cluster: Cluster, cfg: Config) -> tuple[str, str]:
    """The method for `install_method` and the reason; `auto` takes what the cluster and this machine
    offer."""
    if cfg.install_method != "auto":
        return cfg.install_method, "the parameter install_method says so"
    if tool := noted(cluster, cfg.istio_namespace):
        return tool, f"an earlier run of this project installed Istio with {tool}"
    present = installed(cluster, cfg.istio_namespace)
    foreign = present[present["Installed by"] != MANAGER]
    if len(foreign):
        who = foreign.iloc[0]
        return (
            "existing",
            f"{who['Deployment']} {who['Version']} is there, installed by {who['Installed by']}",
        )
    if all(runtime.startswith(LAB_RUNTIME) for runtime in guard.runtimes(cluster)):
        return "manifest", "the nodes run the embedded lab's programs"
    for tool in ("istioctl", "helm"):
        if shutil.which(tool):
            return tool, f"{tool} is on PATH"
    raise PreflightError(
        "there is no Istio in the cluster, and neither istioctl nor helm on PATH",
        fix="install istioctl of the version in istio_version, then run this step again",
    )


def install(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    """Install by the chosen method and wait until control plane and gateways are ready; safe to run again.

    Returns what was done, one row an object (manifest) or a command (istioctl, helm).
    """
    method, _ = choose(cluster, cfg)
    if method == "manifest":
        done = _by_manifest(cluster, cfg)
    elif method == "existing":
        done = _existing(cluster, cfg)
    else:
        plan = (
            istioctl_plan(cluster, cfg, tools.istioctl(cfg))
            if method == "istioctl"
            else helm_plan(cluster, cfg)
        )
        _begin(cluster, cfg, method)
        done = tools.run(plan)
    cluster.forget_kinds()
    settle(cluster, cfg)
    return done


def settle(cluster: Cluster, cfg: Config) -> None:
    """Wait for istiod, the gateways that the profile has, and webhooks that can be called."""
    names = [
        "istiod",
        *(name for name in GATEWAYS if cluster.find("deployments.apps", name, cfg.istio_namespace)),
    ]
    rollout.is_ready(cluster, cfg.istio_namespace, names, timeout_s=cfg.timeout_s)
    wait.until(lambda: _callable(cluster), "CA bundles in Istio's webhooks", timeout_s=cfg.timeout_s)


def _callable(cluster: Cluster) -> None:
    hooks = webhooks(cluster)
    if (missing := hooks[hooks["CA bundle"] == "no"]["Webhook"].tolist()) or hooks.empty:
        raise wait.NotYet(f"no CA bundle in {', '.join(missing) or 'any webhook'}")


def _by_manifest(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    runtimes = guard.runtimes(cluster)
    if not all(runtime.startswith(LAB_RUNTIME) for runtime in runtimes):
        raise PreflightError(
            "install_method manifest is for the embedded lab only; "
            f"the nodes here run {', '.join(sorted(runtimes))}",
            fix="set install_method: istioctl (or helm, existing, auto)",
        )
    if cfg.istio_profile != "demo":
        raise PreflightError(
            f"install_method manifest has the profile demo only, not {cfg.istio_profile}",
            fix="set istio_profile: demo",
        )
    return apply(cluster, manifest.objects(cfg.istio_version, cfg.istio_namespace))


def _existing(cluster: Cluster, cfg: Config) -> pd.DataFrame:
    present = installed(cluster, cfg.istio_namespace)
    wanted = manifest.minor_of(cfg.istio_version)
    if not any(
        manifest.minor_of(version) == wanted for version in present["Version"] if version.count(".") >= 1
    ):
        there = ", ".join(present["Version"]) or "none"
        raise PreflightError(
            f"expected Istio 1.{wanted} in {cfg.istio_namespace}, found {there}",
            fix="set istio_version to what is installed",
        )
    return present


def istioctl_plan(cluster: Cluster, cfg: Config, program: str = "istioctl") -> list[list[str]]:
    """The istioctl commands, as argument lists."""
    where = ["--kubeconfig", str(cluster.kubeconfig), "--context", cluster.context]
    settings = [f"profile={cfg.istio_profile}", f"tag={cfg.istio_version}", f"hub={manifest.HUB}"]
    flags = [part for setting in settings for part in ("--set", setting)]
    wait_s = f"{int(cfg.timeout_s)}s"
    return [[program, "install", *where, *flags, "--readiness-timeout", wait_s, "--skip-confirmation"]]


def helm_plan(cluster: Cluster, cfg: Config) -> list[list[str]]:
    """The helm commands, as argument lists."""
    where = ["--kubeconfig", str(cluster.kubeconfig), "--kube-context", cluster.context]
    common = ["--namespace", cfg.istio_namespace, "--version", cfg.istio_version, "--repo", CHARTS]
    common += ["--wait", "--timeout", f"{int(cfg.timeout_s)}s", *where]
    mesh = ["--set", f"profile={cfg.istio_profile}", "--set", f"global.hub={manifest.HUB}"]
    releases: list[tuple[str, str, list[str]]] = [
        ("istio-base", "base", ["--create-namespace"]),
        ("istiod", "istiod", mesh),
        *((name, "gateway", []) for name in GATEWAYS),
    ]
    return [["helm", "upgrade", "--install", name, chart, *common, *more] for name, chart, more in releases]


def _begin(cluster: Cluster, cfg: Config, method: str) -> None:
    """Make sure that nobody's Istio is changed unasked, then note whose this one is before there is any.

    A run that ends in the middle leaves the note, so that cleanup uninstalls what there is of it.
    """
    notes = {INSTALLED_BY: method, RUN_ID: cluster.run_id}
    space = cluster.find("namespaces", cfg.istio_namespace)
    if space is None:
        meta = {"name": cfg.istio_namespace, "annotations": {**notes, NAMESPACE_MADE: "true"}}
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        return
    mine = space["metadata"].get("annotations", {}).get(INSTALLED_BY)
    for each in control_planes(cluster, cfg.istio_namespace):
        there = f"Istio {each['Version']} ({each['Installed by']}) is in {cfg.istio_namespace}"
        if not mine:
            raise PreflightError(
                f"{there} and was not installed by meshlib", fix="set install_method: existing"
            )
        if each["Version"] != cfg.istio_version and not cfg.istio_upgrade:
            raise PreflightError(
                f"{there}, and {cfg.istio_version} would replace it in place", fix="set istio_upgrade: true"
            )
    cluster.merge("namespaces", cfg.istio_namespace, {"metadata": {"annotations": notes}}, manager=MANAGER)
