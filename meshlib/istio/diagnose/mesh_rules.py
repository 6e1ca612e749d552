"""Modes 1 and 2: a mesh configuration that istiod does not take up as written, and traces that never come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshlib.errors import ClusterError
from meshlib.istio import mesh
from meshlib.istio.diagnose.model import (
    ERROR,
    INFO,
    WARNING,
    Finding,
    Obj,
    Snapshot,
    annotations_of,
    endpoints,
    has_proxy,
    match_labels,
    name_of,
    space,
    yaml_mapping,
)

BUILT_IN = frozenset({"prometheus", "stackdriver", "envoy"})
BACKEND_PORTS = {"zipkin": 9411, "opentelemetry": 4317}
BACKENDS = ("tracing", "zipkin", "jaeger-collector")
SMALL_SHARE_PERCENT = 1.0


def _text(snapshot: Snapshot) -> str | None:
    found = snapshot.find("ConfigMap", mesh.CONFIG_MAP, snapshot.root)
    return None if found is None else str((found.get("data") or {}).get(mesh.KEY, ""))


def _config(snapshot: Snapshot) -> dict[str, Any] | None:
    """The mesh configuration as istiod reads it, None where there is none or it is no YAML mapping."""
    text = _text(snapshot)
    if text is None:
        return None
    try:
        return mesh.parse(text)
    except ClusterError:
        return None


def mesh_edit(snapshot: Snapshot) -> Iterator[Finding]:
    """Text that is no YAML, fields that MeshConfig does not have, an emptied defaultConfig."""
    text = _text(snapshot)
    if text is None:
        return
    where, fix = (
        f"ConfigMap {snapshot.root}/istio, data.mesh",
        f"kubectl edit configmap istio -n {snapshot.root}",
    )
    try:
        config = mesh.parse(text)
    except ClusterError as error:
        cause = "istiod keeps the last configuration that it could parse; a gateway that restarts fails"
        yield Finding(2, ERROR, "the mesh configuration is not YAML", f"{where}: {error.message}", cause, fix)
        return
    unknown = [key for key in config if key not in mesh.FIELDS]
    if unknown:
        yield Finding(
            2,
            ERROR,
            f"the mesh configuration has fields that do not exist: {', '.join(unknown)}",
            f"{where}: {', '.join(unknown)} at the top level",
            "istiod drops unknown fields without a word; they may have lost their indentation",
            fix,
        )
    if "defaultConfig" in config and config["defaultConfig"] is None:
        yield Finding(
            2,
            ERROR,
            "defaultConfig is empty",
            f"{where}: defaultConfig: null",
            "the lines below it are not indented, so none of them belongs to it",
            fix,
        )
    elif "sampling" in (config.get("defaultConfig") or {}):
        yield Finding(
            2,
            ERROR,
            "sampling is set in a place where it is ignored",
            f"{where}: defaultConfig.sampling",
            "ProxyConfig has no field sampling; it is defaultConfig.tracing.sampling",
            fix,
        )


def stale_start(snapshot: Snapshot) -> Iterator[Finding]:
    """Proxies that started before defaultConfig was changed and still have the old one."""
    config = _config(snapshot)
    if config is None:
        return
    wanted = dict(config.get("defaultConfig") or {})
    sampled_by_telemetry = any(
        "randomSamplingPercentage" in tracing
        for each in snapshot.all("Telemetry", snapshot.root)
        if not match_labels(each)
        for tracing in each["spec"].get("tracing") or []
    )
    for pod in snapshot.all("Pod"):
        name = f"{pod['metadata']['name']}.{space(pod)}"
        has = snapshot.started.get(name, _frozen(pod))
        if has is None or not has_proxy(pod):
            continue
        own = yaml_mapping(annotations_of(pod).get("proxy.istio.io/config", ""))
        default = {"discoveryAddress": f"istiod.{snapshot.root}.svc:15012"}
        differs = [
            key
            for key in _compared(wanted, has)
            if key not in own
            and wanted.get(key) != default.get(key, ...)
            and _value(wanted, key, sampled_by_telemetry) != _value(has, key, sampled_by_telemetry)
        ]
        if differs:
            old, new = ({key: config.get(key) for key in differs} for config in (has, wanted))
            yield Finding(
                2,
                WARNING,
                f"pod {name_of(pod)} still has the old {', '.join(differs)}",
                f"it started with {old}; the mesh says {new}",
                "defaultConfig is read when a proxy starts, and never again",
                _restart(snapshot, pod),
            )


def _compared(wanted: Mapping[str, Any], has: Mapping[str, Any]) -> list[str]:
    return [key for key in {**wanted, "tracing": None} if key in wanted or key in has]


def _value(config: Mapping[str, Any], key: str, sampled: bool) -> Any:
    value = config.get(key)
    if key == "tracing" and isinstance(value, dict):
        value = {k: v for k, v in value.items() if v and not (sampled and k == "sampling")}
    return value or None


def _frozen(pod: Obj) -> Obj | None:
    """The ProxyConfig that injection wrote into a sidecar's environment."""
    spec = pod["spec"]
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        if container["name"] == "istio-proxy":
            for entry in container.get("env") or []:
                if entry["name"] == "PROXY_CONFIG":
                    return dict(yaml_mapping(entry.get("value", "")))
    return None


def _restart(snapshot: Snapshot, pod: Obj) -> str:
    owner = next((each for each in pod["metadata"].get("ownerReferences") or []), {"name": ""})
    deployment = str(owner["name"]).rpartition("-")[0] if owner.get("kind") == "ReplicaSet" else ""
    what = (
        f"rollout restart deployment/{deployment}" if deployment else f"delete pod {pod['metadata']['name']}"
    )
    return f"kubectl {what} -n {space(pod)}"


def traces(snapshot: Snapshot) -> Iterator[Finding]:
    """Why no span arrives: no provider, an unknown one, one without a backend, several Telemetry objects."""
    config = _config(snapshot)
    if config is None:
        return
    root = snapshot.root
    yield from _several(snapshot)
    chosen = [
        (each, entry["name"])
        for each in snapshot.all("Telemetry")
        for tracing in each["spec"].get("tracing") or []
        for entry in tracing.get("providers") or []
    ]
    known = {each["name"]: each for each in config.get("extensionProviders") or []}
    defaults = (config.get("defaultProviders") or {}).get("tracing") or []
    for telemetry, provider in chosen:
        if provider not in known and provider not in BUILT_IN:
            yield Finding(
                1,
                ERROR,
                f"Telemetry {name_of(telemetry)} names the provider {provider!r}, which does not exist",
                f"extensionProviders of ConfigMap {root}/istio: {', '.join(known) or 'none'}",
                "an unknown provider switches tracing off for every proxy that the resource covers",
                f"kubectl edit telemetry {telemetry['metadata']['name']} -n {space(telemetry)}",
            )
    used = {provider for _, provider in chosen} | set(defaults)
    for provider in sorted(used & known.keys()):
        yield from _backend(snapshot, known[provider])
    yield from _switched_off(snapshot, [telemetry for telemetry, _ in chosen], bool(defaults))
    if not used:
        yield from _default_tracer(snapshot, config)
    yield from _small_share(snapshot)


def _several(snapshot: Snapshot) -> Iterator[Finding]:
    general: dict[str, list[str]] = {}
    for each in snapshot.all("Telemetry"):
        if not match_labels(each) and not each["spec"].get("targetRefs"):
            general.setdefault(space(each), []).append(each["metadata"]["name"])
    for namespace, names in general.items():
        if len(names) > 1:
            yield Finding(
                1,
                ERROR,
                f"{len(names)} Telemetry resources without a selector in {namespace}",
                ", ".join(sorted(names)),
                "only one of them is used in a namespace, the others count for nothing",
                f"kubectl delete telemetry {sorted(names)[-1]} -n {namespace}",
                "IST0160",
            )


def _switched_off(snapshot: Snapshot, with_provider: list[Obj], defaults: bool) -> Iterator[Finding]:
    for each in snapshot.all("Telemetry", snapshot.root):
        for tracing in each["spec"].get("tracing") or []:
            edit = f"kubectl edit telemetry {each['metadata']['name']} -n {snapshot.root}"
            if tracing.get("disableSpanReporting"):
                evidence = f"Telemetry {name_of(each)}: disableSpanReporting: true"
                yield Finding(
                    1, ERROR, "span reporting is switched off", evidence, "no proxy sends spans", edit
                )
            elif tracing.get("randomSamplingPercentage") == 0:
                evidence = f"Telemetry {name_of(each)}: randomSamplingPercentage: 0"
                yield Finding(1, ERROR, "no request is sampled", evidence, "0 % is taken at its word", edit)
            elif not with_provider and not defaults:
                evidence = f"Telemetry {name_of(each)} has tracing and names no provider"
                cause = (
                    "a tracing section without any provider switches tracing off, the old default included"
                )
                yield Finding(1, ERROR, "tracing has no provider", evidence, cause, edit)


def _small_share(snapshot: Snapshot) -> Iterator[Finding]:
    for each in snapshot.all("Telemetry"):
        for tracing in each["spec"].get("tracing") or []:
            share = tracing.get("randomSamplingPercentage")
            if share and share <= SMALL_SHARE_PERCENT:
                yield Finding(
                    1,
                    INFO,
                    f"only {share:g} % of the requests are traced",
                    f"Telemetry {name_of(each)}: randomSamplingPercentage: {share:g}",
                    "a handful of requests leaves no trace at all",
                    f"kubectl edit telemetry {each['metadata']['name']} -n {space(each)}",
                )


def _backend(snapshot: Snapshot, provider: Obj) -> Iterator[Finding]:
    for kind in BACKEND_PORTS:
        host = str((provider.get(kind) or {}).get("service", "")).rpartition("/")[2]
        parts = host.split(".")
        if len(parts) < 2 or (len(parts) > 2 and parts[2] != "svc"):
            continue
        if ready := _serves(snapshot, parts[0], parts[1]):
            yield Finding(
                1,
                ERROR,
                f"the backend of the provider {provider['name']!r} is not there",
                ready,
                "the proxies make spans and have nowhere to send them",
                f"kubectl get service,endpointslices,pods -n {parts[1]}",
            )


def _serves(snapshot: Snapshot, name: str, namespace: str) -> str:
    if snapshot.find("Service", name, namespace) is None:
        return f"there is no Service {namespace}/{name}"
    return "" if endpoints(snapshot, name, namespace) else f"Service {namespace}/{name} has no ready endpoint"


def _default_tracer(snapshot: Snapshot, config: dict[str, Any]) -> Iterator[Finding]:
    """Only where a backend shows that traces are wanted."""
    backend = next((name for name in BACKENDS if snapshot.find("Service", name, snapshot.root)), None)
    tracing = (config.get("defaultConfig") or {}).get("tracing") or {}
    minor = snapshot.istio_minor()
    if backend is None or any(
        tracing.get(kind) for kind in ("zipkin", "openCensusAgent", "lightstep", "datadog")
    ):
        return
    if minor is not None and minor < 22:
        return
    names = ", ".join(mesh.provider_names(config)) or "none"
    yield Finding(
        1,
        ERROR,
        "no Telemetry resource chooses a tracing provider",
        f"Service {snapshot.root}/{backend} is there; no Telemetry has tracing; extensionProviders: {names}",
        "since Istio 1.22 there is no default tracer: without a provider no proxy makes spans",
        f"kubectl apply -n {snapshot.root} -f telemetry.yaml   # notebook 07_sampling writes it",
    )
