"""Tracing of a connection manager: whether, to which provider, how many requests, with which tags.

Source: istio-facts 0.3, 0.4, C8; istio/istio pilot/pkg/networking/core/tracing.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlib.lab.istiod.minors import minor
from meshlib.lab.istiod.translate import durations, telemetry
from meshlib.lab.istiod.translate.mesh import mesh_config, proxy_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, describe, present, typed
from meshlib.lab.istiod.translate.telemetry import Side
from meshlib.lab.istiod.translate.world import World

#: What pilot-agent calls the cluster where nobody names it.
CLUSTER_ID = "Kubernetes"
_RBAC = "envoy.filters.http.rbac"
_DRY_RUN = (
    ("istio.authorization.dry_run.allow_policy.name", "istio_dry_run_allow_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.allow_policy.result", "istio_dry_run_allow_shadow_engine_result"),
    ("istio.authorization.dry_run.deny_policy.name", "istio_dry_run_deny_shadow_effective_policy_id"),
    ("istio.authorization.dry_run.deny_policy.result", "istio_dry_run_deny_shadow_engine_result"),
)


@dataclass(frozen=True)
class Traced:
    """tracing: the connection manager's, None where there is none; child_span: the router makes its own."""

    tracing: Obj | None = None
    child_span: bool = False
    use_request_id: bool = True


@dataclass
class _Spec:
    provider: Mapping[str, Any] | None = None
    disabled: bool = False
    sampling: float | None = None
    tags: dict[str, Any] = field(default_factory=dict)
    use_request_id: bool = True
    istio_tags: bool = True
    propagation: bool = True


def configuration(world: World, proxy: Proxy, side: Side, problems: list[Problem]) -> Traced:
    """The tracing of one side of a proxy."""
    mesh = mesh_config(world)
    config = proxy_config(mesh, proxy).get("tracing") or {}
    spec = _spec(world, proxy, side)
    if spec is None:
        if not mesh.enable_tracing:
            return Traced()
        return Traced(_tracing(world, proxy, config, _mesh_sampling(world, config), _Spec()))
    if spec.disabled or spec.provider is None:
        return Traced()
    built = _provider(world, proxy, spec.provider)
    if isinstance(built, str):
        problems.append(Problem(f"tracing provider {spec.provider['name']}", built))
        return Traced()
    driver, length = built
    sampling = spec.sampling if spec.sampling is not None else _mesh_sampling(world, config)
    found = {**_tracing(world, proxy, config, sampling, spec), "provider": driver}
    if not spec.propagation and proxy.minor >= 30:
        found["no_context_propagation"] = True
    if length:
        found["max_path_tag_length"] = length
    # Only the client's side of a gateway makes a span of its own (istio-facts 0.4).
    child = minor(proxy.minor).spawn_upstream_span and side == "gateway"
    if child:
        found["spawn_upstream_span"] = True
    return Traced(found, False, spec.use_request_id)


def _spec(world: World, proxy: Proxy, side: Side) -> _Spec | None:
    """What Telemetry and the mesh's default provider say together; None where neither speaks of tracing."""
    defaults = mesh_config(world).default_tracing
    rules = [
        (obj, rule)
        for obj in telemetry.applicable(world, proxy)
        for rule in obj.get("spec", {}).get("tracing") or []
    ]
    if not rules and not defaults:
        return None
    spec = _Spec(provider=telemetry.provider(world, defaults[0]) if defaults else None)
    for _, rule in rules:
        mode = (rule.get("match") or {}).get("mode", "CLIENT_AND_SERVER")
        if mode not in ("CLIENT_AND_SERVER", telemetry.mode_of(side)):
            continue
        if chosen := telemetry.provider_names(rule):
            spec.provider = telemetry.provider(world, chosen[0])
        if rule.get("disableSpanReporting") is not None:
            spec.disabled = rule["disableSpanReporting"]
        if rule.get("customTags") is not None:
            spec.tags = rule["customTags"]
        if rule.get("randomSamplingPercentage") is not None:
            spec.sampling = float(rule["randomSamplingPercentage"])
        if rule.get("enableIstioTags") is not None:
            spec.istio_tags = rule["enableIstioTags"]
        if rule.get("disableContextPropagation") is not None:
            spec.propagation = not rule["disableContextPropagation"]
        if rule.get("useRequestIdForTraceSampling") is not None:
            spec.use_request_id = rule["useRequestIdForTraceSampling"]
    if spec.provider is None:
        spec.disabled = True
    return spec


def findings(world: World, proxy: Proxy) -> list[Problem]:
    """Providers that Telemetry objects name and the mesh configuration lacks: tracing is off for them."""
    found = []
    for obj in telemetry.applicable(world, proxy):
        for rule in obj.get("spec", {}).get("tracing") or []:
            for name in telemetry.provider_names(rule)[:1]:
                if telemetry.provider(world, name) is None:
                    text = f"tracing is off: the mesh configuration has no extension provider {name!r}"
                    found.append(Problem(describe(obj), text))
    return found


def _mesh_sampling(world: World, config: Mapping[str, Any]) -> float:
    """`defaultConfig.tracing.sampling`: 0 means unset, more than 100 means 1 (istio-facts C8)."""
    sampling = float(config.get("sampling") or 0)
    if not sampling:
        return world.trace_sampling
    return 1.0 if sampling > 100 else sampling


def _tracing(world: World, proxy: Proxy, config: Mapping[str, Any], sampling: float, spec: _Spec) -> Obj:
    own = _custom_tags(spec.tags) if spec.tags else _custom_tags(config.get("customTags") or {})
    labels = proxy.labels
    service = {
        "istio.canonical_revision": labels.get("service.istio.io/canonical-revision", "latest"),
        "istio.canonical_service": labels.get("service.istio.io/canonical-name", "unknown"),
        **({"istio.cluster_id": CLUSTER_ID} if minor(proxy.minor).cluster_tag else {}),
        "istio.mesh_id": mesh_config(world).trust_domain,
        "istio.namespace": proxy.namespace,
    }
    every = (
        [{"tag": name, "literal": {"value": value}} for name, value in service.items()]
        if spec.istio_tags
        else []
    )
    if spec.istio_tags:
        every += [_dry_run_tag(name, key) for name, key in _DRY_RUN]
    names = {tag["tag"] for tag in own}
    every = [tag for tag in every if tag["tag"] not in names] + own
    return present(
        client_sampling={"value": 100.0},
        random_sampling={"value": sampling},
        overall_sampling={"value": 100.0},
        custom_tags=sorted(every, key=lambda tag: str(tag["tag"])) or None,
        max_path_tag_length=config.get("maxPathTagLength") or None,
    )


def _dry_run_tag(name: str, key: str) -> Obj:
    place = {"key": _RBAC, "path": [{"key": key}]}
    return {"tag": name, "metadata": {"kind": {"request": {}}, "metadata_key": place}}


def _custom_tags(tags: Mapping[str, Any]) -> list[Obj]:
    found: list[Obj] = []
    for name, tag in tags.items():
        if "literal" in tag:
            found.append({"tag": name, "literal": {"value": tag["literal"]["value"]}})
        elif "environment" in tag:
            value = present(
                name=tag["environment"]["name"], default_value=tag["environment"].get("defaultValue")
            )
            found.append({"tag": name, "environment": value})
        elif "formatter" in tag:
            found.append({"tag": name, "value": tag["formatter"]["value"]})
        elif "header" in tag:
            value = present(name=tag["header"]["name"], default_value=tag["header"].get("defaultValue"))
            found.append({"tag": name, "request_header": value})
    return found


def _provider(world: World, proxy: Proxy, settings: Mapping[str, Any]) -> tuple[Obj, int] | str:
    """The tracer and its longest path tag, or why there is none."""
    for kind, build in (("zipkin", _zipkin), ("opentelemetry", _opentelemetry)):
        if isinstance(settings.get(kind), Mapping):
            found = telemetry.cluster_of(world, settings[kind])
            if found is None:
                return f"there is no service {settings[kind].get('service')!r}"
            return build(proxy, settings[kind], *found), int(settings[kind].get("maxTagLength") or 0)
    kinds = ", ".join(sorted(set(settings) - {"name"})) or "nothing"
    return f"the embedded lab traces to zipkin and opentelemetry, not to {kinds}"


def _zipkin(proxy: Proxy, settings: Mapping[str, Any], hostname: str, cluster: str) -> Obj:
    row = minor(proxy.minor)
    path = settings.get("path") or "/api/v2/spans"
    fields: Obj = {
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": not settings.get("enable64bitTraceId", False),
        "shared_span_context": False,
    }
    if row.zipkin_service:
        timeout = durations.proto(settings["timeout"]) if settings.get("timeout") else "5s"
        fields["collector_service"] = present(
            http_uri={"uri": f"http://{hostname}{path}", "cluster": cluster, "timeout": timeout},
            request_headers_to_add=_headers(settings.get("headers")),
        )
    else:
        fields |= {"collector_cluster": cluster, "collector_endpoint": path, "collector_hostname": hostname}
    if row.w3c_option:
        fields["trace_context_option"] = settings.get("traceContextOption") or "USE_B3"
    return {
        "name": "envoy.tracers.zipkin",
        "typed_config": typed("envoy.config.trace.v3.ZipkinConfig", **fields),
    }


def _opentelemetry(proxy: Proxy, settings: Mapping[str, Any], hostname: str, cluster: str) -> Obj:
    fields: Obj = {"service_name": proxy.service_cluster}
    if (http := settings.get("http")) is not None:
        path = "/" + str(http.get("path", "")).lstrip("/")
        timeout = durations.proto(http["timeout"]) if http.get("timeout") else "5s"
        fields["http_service"] = present(
            http_uri={"uri": f"http://{hostname}{path}", "cluster": cluster, "timeout": timeout},
            request_headers_to_add=_headers(http.get("headers")),
        )
    else:
        grpc = settings.get("grpc") or {}
        fields["grpc_service"] = present(
            envoy_grpc={"cluster_name": cluster, "authority": hostname},
            timeout=durations.proto(grpc["timeout"]) if grpc.get("timeout") else None,
        )
    if (settings.get("resourceDetectors") or {}).get("environment") is not None:
        fields["resource_detectors"] = [
            {
                "name": "envoy.tracers.opentelemetry.resource_detectors.environment",
                "typed_config": typed(
                    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig"
                ),
            }
        ]
    return {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": typed("envoy.config.trace.v3.OpenTelemetryConfig", **fields),
    }


def _headers(given: list[dict[str, Any]] | None) -> list[Obj] | None:
    found = [
        {
            "header": {"key": item["name"], "value": item.get("value", "")},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
        for item in given or []
    ]
    return found or None
