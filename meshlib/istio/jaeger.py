"""Pure: Jaeger as Istio's addon runs it, pinned, in one pod.

Version 1 is the image all-in-one, configured by environment; version 2 the image jaeger, configured by a
file. The Services are the same: `tracing` (query), `zipkin`, `jaeger-collector`.

Storage is `memory` (traces end with the container) or `badger` (files in a volume of the pod, as the addon
has it: traces end with the pod).  Sources: the addon's manifests of each Istio minor; Jaeger's
cmd/jaeger/config-badger.yaml and plugin/storage/badger/options.go (the variables of version 1).
"""

from __future__ import annotations

from typing import Any

import yaml

Obj = dict[str, Any]

NAME = "jaeger"
QUERY_SERVICE, QUERY_PORT = "tracing", "http-query"
CONFIG_FOLDER = "/etc/jaeger"
MAX_TRACES = 100_000
MEMORY, BADGER = "memory", "badger"
BADGER_FOLDER = "/badger"

# The version that each Istio minor's own addon uses.
BY_ISTIO_MINOR = {
    19: "1.46.0", 20: "1.46.0", 21: "1.46.0", 22: "1.56.0", 23: "1.58.0", 24: "1.58.0", 25: "1.63.0",
    26: "1.67.0", 27: "1.70.0", 28: "1.70.0", 29: "2.14.0", 30: "2.14.0", 31: "2.17.0",
}  # fmt: skip

SERVICES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "tracing": (("http-query", 80, 16686), ("grpc-query", 16685, 16685)),
    "zipkin": (("http-query", 9411, 9411),),
    "jaeger-collector": (
        ("jaeger-collector-http", 14268, 14268),
        ("jaeger-collector-grpc", 14250, 14250),
        ("http-zipkin", 9411, 9411),
        ("grpc-otel", 4317, 4317),
        ("http-otel", 4318, 4318),
    ),
}


def objects(version: str, namespace: str, *, storage: str = MEMORY, base_path: str = "/jaeger") -> list[Obj]:
    """Deployment, Services and, for version 2, the ConfigMap; `base_path` "" serves at the root."""
    second = version.startswith("2.")
    made: list[Obj] = [_config(namespace, storage, base_path or "/")] if second else []
    container = _container_v2(version) if second else _container_v1(version, storage, base_path or "/")
    made.append(_deployment(namespace, container, storage))
    return made + [_service(name, namespace, ports) for name, ports in SERVICES.items()]


def _container_v1(version: str, storage: str, base_path: str) -> Obj:
    kept = {
        MEMORY: {"MEMORY_MAX_TRACES": str(MAX_TRACES)},
        BADGER: {
            "BADGER_EPHEMERAL": "false",
            "BADGER_DIRECTORY_KEY": f"{BADGER_FOLDER}/key",
            "BADGER_DIRECTORY_VALUE": f"{BADGER_FOLDER}/data",
        },
    }
    env = {
        "SPAN_STORAGE_TYPE": storage,
        **kept[storage],
        "COLLECTOR_ZIPKIN_HOST_PORT": ":9411",
        "COLLECTOR_OTLP_ENABLED": "true",
        "QUERY_BASE_PATH": base_path,
    }
    return {
        "image": f"docker.io/jaegertracing/all-in-one:{version}",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "readinessProbe": {"httpGet": {"path": "/", "port": 14269}, "periodSeconds": 2},
    }


def _container_v2(version: str) -> Obj:
    return {
        "image": f"docker.io/jaegertracing/jaeger:{version}",
        "args": ["--config", f"{CONFIG_FOLDER}/config.yaml"],
        "readinessProbe": {"httpGet": {"path": "/status", "port": 13133}, "periodSeconds": 2},
        "volumeMounts": [{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}],
    }


def _deployment(namespace: str, container: Obj, storage: str) -> Obj:
    ports = sorted({target for listed in SERVICES.values() for _, _, target in listed})
    mounts = list(container.get("volumeMounts", []))
    volumes: list[Obj] = [{"name": "config", "configMap": {"name": NAME}}] if mounts else []
    if storage == BADGER:
        mounts.append({"name": "data", "mountPath": BADGER_FOLDER})
        volumes.append({"name": "data", "emptyDir": {}})
    container = {
        "name": NAME,
        **container,
        **({"volumeMounts": mounts} if mounts else {}),
        "ports": [{"containerPort": port} for port in ports],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: Obj = {"containers": [container]}
    if volumes:
        # the group of Jaeger's image, so that its user may write the volume
        pod |= {"volumes": volumes} | ({"securityContext": {"fsGroup": 10001}} if storage == BADGER else {})
    labels = {"app": NAME, "sidecar.istio.io/inject": "false"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"app": NAME}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _service(name: str, namespace: str, ports: tuple[tuple[str, int, int], ...]) -> Obj:
    listed = [{"name": title, "port": port, "targetPort": target} for title, port, target in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": NAME}},
        "spec": {"selector": {"app": NAME}, "ports": listed},
    }


def _config(namespace: str, storage: str, base_path: str) -> Obj:
    everywhere = "0.0.0.0"
    kept: dict[str, Obj] = {
        MEMORY: {"max_traces": MAX_TRACES},
        BADGER: {
            "directories": {"keys": f"{BADGER_FOLDER}/key", "values": f"{BADGER_FOLDER}/data"},
            "ephemeral": False,
        },
    }
    config = {
        "extensions": {
            "healthcheckv2": {"use_v2": True, "http": {"endpoint": f"{everywhere}:13133"}},
            "jaeger_query": {
                "base_path": base_path,
                "http": {"endpoint": f"{everywhere}:16686"},
                "grpc": {"endpoint": f"{everywhere}:16685"},
                "storage": {"traces": storage},
            },
            "jaeger_storage": {"backends": {storage: {storage: kept[storage]}}},
        },
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"{everywhere}:4317"},
                    "http": {"endpoint": f"{everywhere}:4318"},
                }
            },
            "jaeger": {
                "protocols": {
                    "grpc": {"endpoint": f"{everywhere}:14250"},
                    "thrift_http": {"endpoint": f"{everywhere}:14268"},
                }
            },
            "zipkin": {"endpoint": f"{everywhere}:9411"},
        },
        "processors": {"batch": {}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": storage}},
        "service": {
            "extensions": ["healthcheckv2", "jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp", "jaeger", "zipkin"],
                    "processors": ["batch"],
                    "exporters": ["jaeger_storage_exporter"],
                }
            },
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"app": NAME}},
        "data": {"config.yaml": yaml.safe_dump(config, sort_keys=False)},
    }
