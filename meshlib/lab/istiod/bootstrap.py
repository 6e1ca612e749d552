"""Pure: a pod object in, the Envoy bootstrap of its proxy out (what pilot-agent writes in Istio).

Node id, cluster and metadata follow Istio's pkg/bootstrap; everything else that Envoy needs comes from the
files that istiod writes beside it (docs/ARCHITECTURE.md, "xDS by file").  There is no pilot-agent in the lab:
the cluster `agent`, which port 15021 asks for readiness, is Envoy's admin, so ready means that Envoy is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshlib.errors import LabError
from meshlib.lab.istiod import proxyconfig
from meshlib.lab.istiod.files import top_source
from meshlib.lab.istiod.minors import DEFAULT, minor, minor_of_image, version_of_image

Obj = Mapping[str, Any]

INSIDE = "lab.meshlib.dev/inside"
PORTS = "lab.meshlib.dev/ports"

ADMIN_PORT, STATUS_PORT, PROMETHEUS_PORT = 15000, 15021, 15090
LOG_FORMAT = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"
FLUSH_MS = 250
FLUSH_SPANS = 100  # Envoy's own 5 makes a request of every fifth span, which costs more than the span
"""How long Envoy's tracers keep a span; its default of 5 s would make every notebook wait."""

# Every process of this machine, and every page in its browsers, reaches a loopback port: what changes a proxy
# is left out (quitquitquit, drain_listeners, logging, runtime_modify, profilers that write files, …).
ADMIN_PATHS = (
    *(
        "certs",
        "clusters",
        "config_dump",
        "contention",
        "help",
        "hot_restart_version",
        "init_dump",
        "listeners",
    ),
    *("memory", "ready", "runtime", "server_info", "stats", "stats/prometheus"),
)
ADMIN_PATTERN = rf"/({'|'.join(ADMIN_PATHS)})?(\?.*)?"

EXTENSIONS = "type.googleapis.com/envoy.extensions"
HTTP_MANAGER = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
HTTP_ROUTER = f"{EXTENSIONS}.filters.http.router.v3.Router"
CONNECTIONS = f"{EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"

STATS_TAGS = (
    # Envoy's own rules would cut a cluster's name at its first dot.
    ("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"),
    ("http_conn_manager_prefix", r"^http\.(((outbound|inbound)_[0-9.]+_[0-9]+|[^.]+)\.)"),
    ("listener_address", r"^listener\.(([0-9.]+_[0-9]+)\.)"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
)


def proxy_container(pod: Obj) -> dict[str, Any]:
    """The pod's istio-proxy container, in either list (an init one as of Istio 1.27); {} if it has none."""
    spec = pod["spec"]
    both = [*spec.get("containers", []), *spec.get("initContainers", [])]
    return next((c for c in both if c["name"] == "istio-proxy"), {})


def role(container: Obj) -> str:
    """`router` for a gateway, else `sidecar`: what the arguments `proxy router|sidecar` say."""
    args = list(container.get("args", []))
    return "router" if args[:2] == ["proxy", "router"] else "sidecar"


def workload_name(pod: Obj) -> str:
    """The name of the Deployment behind the pod's ReplicaSet, of any other controller, else of the pod."""
    for owner in pod["metadata"].get("ownerReferences", []):
        if owner.get("controller"):
            name = str(owner["name"])
            return name.rpartition("-")[0] if owner["kind"] == "ReplicaSet" else name
    return str(pod["metadata"].get("name") or pod["metadata"].get("generateName", "").rstrip("-"))


def canonical_name(pod: Obj) -> str:
    """The label canonical-name, else app.kubernetes.io/name, else app, else the workload's name."""
    labels = pod["metadata"].get("labels") or {}
    for key in ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app"):
        if labels.get(key):
            return str(labels[key])
    return workload_name(pod)


def service_cluster(pod: Obj, config: Obj) -> str:
    """Envoy's node.cluster, which is the service name in traces: `<app>.<namespace>`."""
    namespace = pod["metadata"]["namespace"]
    naming = config.get("tracingServiceName", "APP_LABEL_AND_NAMESPACE")
    if naming == "CANONICAL_NAME_ONLY":
        return canonical_name(pod)
    if naming == "CANONICAL_NAME_AND_NAMESPACE":
        return f"{canonical_name(pod)}.{namespace}"
    labels = pod["metadata"].get("labels") or {}
    return f"{labels.get('app') or workload_name(pod) or 'istio-proxy'}.{namespace}"


def node(pod: Obj, *, mesh: str = "") -> dict[str, Any]:
    """The node of the proxy, as it appears in bootstrap, config dump, spans and istiod's own records."""
    container = proxy_container(pod)
    if not container:
        raise LabError(
            f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']} has no container istio-proxy"
        )
    behaves = minor(minor_of_image(container["image"], DEFAULT))
    config = proxyconfig.of_pod(pod, container, behaves, mesh)
    meta = pod["metadata"]
    namespace, name = meta["namespace"], meta["name"]
    address = pod["status"]["podIP"]
    apps = [c["name"] for c in pod["spec"]["containers"] if c["name"] != "istio-proxy"]
    ports = [p for c in pod["spec"]["containers"] if c["name"] != "istio-proxy" for p in c.get("ports", [])]
    return {
        "id": f"{role(container)}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
        "cluster": service_cluster(pod, config),
        "locality": {},
        "metadata": {
            "NAME": name,
            "NAMESPACE": namespace,
            "INSTANCE_IPS": address,
            "SERVICE_ACCOUNT": pod["spec"].get("serviceAccountName", "default"),
            "WORKLOAD_NAME": workload_name(pod),
            "CLUSTER_ID": "Kubernetes",
            "MESH_ID": "cluster.local",
            "ISTIO_VERSION": version_of_image(container["image"]),
            "LABELS": dict(meta.get("labels") or {}),
            "APP_CONTAINERS": ",".join(apps),
            "POD_PORTS": json.dumps(ports, separators=(",", ":")),
            "NODE_NAME": pod["spec"].get("nodeName", ""),
            "ENVOY_STATUS_PORT": STATUS_PORT,
            "ENVOY_PROMETHEUS_PORT": PROMETHEUS_PORT,
            "PROXY_CONFIG": config,
        },
    }


def bootstrap(pod: Obj, *, xds_dir: str | Path, mesh: str = "") -> dict[str, Any]:
    """Envoy's bootstrap for a proxy pod; the kubelet writes it as JSON to `<xds_dir>/bootstrap.json`.

    `pod` has its address in `status.podIP` and the kubelet's two annotations; `mesh` is the text of the
    mounted `/etc/istio/config/mesh` ("" for a sidecar, which has none).  Raises LabError when the mesh text,
    the variable PROXY_CONFIG or the annotation cannot be parsed: pilot-agent does not start then either.
    """
    annotations = pod["metadata"].get("annotations") or {}
    inside = annotations[INSIDE]
    ports = {int(declared): int(true) for declared, true in json.loads(annotations[PORTS]).items()}
    identity = node(pod, mesh=mesh)
    config = identity["metadata"]["PROXY_CONFIG"]
    address = pod["status"]["podIP"]
    admin = _address(inside, ports.get(ADMIN_PORT, ADMIN_PORT))
    clusters = [_static("prometheus_stats", admin), _static("agent", admin)]
    document: dict[str, Any] = {
        "node": identity,
        "admin": {"address": admin, "allow_paths": [{"safe_regex": {"regex": ADMIN_PATTERN}}]},
        "layered_runtime": {
            "layers": [
                {
                    "name": "lab",
                    "static_layer": {
                        "tracing.zipkin.flush_interval_ms": FLUSH_MS,
                        "tracing.zipkin.min_flush_spans": FLUSH_SPANS,
                        "tracing.opentelemetry.flush_interval_ms": FLUSH_MS,
                        "tracing.opentelemetry.min_flush_spans": FLUSH_SPANS,
                        "re2.max_program_size.error_level": 32768,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": CONNECTIONS,
                        "max_active_downstream_connections": 2147483645,
                    },
                }
            ]
        },
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in STATS_TAGS],
        },
        "dynamic_resources": {
            "lds_config": top_source(xds_dir, "lds"),
            "cds_config": top_source(xds_dir, "cds"),
        },
        "static_resources": {
            "clusters": clusters,
            "listeners": [
                _forward(
                    "",
                    address,
                    ports.get(PROMETHEUS_PORT, PROMETHEUS_PORT),
                    "stats",
                    "/stats/prometheus",
                    "prometheus_stats",
                ),
                _forward(
                    "",
                    address,
                    ports.get(STATUS_PORT, STATUS_PORT),
                    "agent",
                    "/healthz/ready",
                    "agent",
                    "/ready",
                ),
            ],
        },
    }
    if proxyconfig.zipkin_address(config):
        document["tracing"] = {
            "http": {
                "name": "envoy.tracers.zipkin",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                    "collector_cluster": "zipkin",
                    "collector_endpoint": "/api/v2/spans",
                    "collector_endpoint_version": "HTTP_JSON",
                    "trace_id_128bit": True,
                    "shared_span_context": False,
                },
            }
        }
    return document


def arguments(document: Obj, path: str | Path) -> list[str]:
    """Envoy's command line after the program's name, for a bootstrap document written to `path`.

    A ProxyConfig may set `concurrency` (0 means all cores); the lab's default is 2 for a gateway and 1 for a
    sidecar, because many share a machine.  `misc:error` is Istio's default too: it silences the notice that
    the bootstrap's tracer, which Istio up to 1.21 uses, is deprecated.
    """
    identity = document["node"]
    wanted = identity["metadata"]["PROXY_CONFIG"].get("concurrency")
    workers = (2 if identity["id"].startswith("router~") else 1) if wanted is None else int(wanted)
    return [
        *("-c", str(path), "--disable-hot-restart", "-l", "warning", "--component-log-level", "misc:error"),
        # As in Istio: when a listener was replaced, a kept connection ends with its next answer.
        *("--drain-time-s", "45", "--drain-strategy", "immediate"),
        *(["--concurrency", str(workers)] if workers else []),
        *("--log-format", LOG_FORMAT),
    ]


def _address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"protocol": "TCP", "address": ip, "port_value": port}}


def _static(name: str, address: Obj) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _forward(
    name: str, ip: str, port: int, stat_prefix: str, path: str, cluster: str, rewrite: str | None = None
) -> dict[str, Any]:
    """A static listener that hands one path to a cluster and knows no other."""
    route: dict[str, Any] = {"cluster": cluster}
    if rewrite:
        route["prefix_rewrite"] = rewrite
    return {
        **({"name": name} if name else {}),
        "address": _address(ip, port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": HTTP_MANAGER,
                            "codec_type": "AUTO",
                            "stat_prefix": stat_prefix,
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "backend",
                                        "domains": ["*"],
                                        "routes": [{"match": {"path": path}, "route": route}],
                                    }
                                ]
                            },
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {"@type": HTTP_ROUTER},
                                }
                            ],
                        },
                    }
                ]
            }
        ],
    }
