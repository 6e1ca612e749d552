"""Pure: the ProxyConfig of one proxy, as pilot-agent computes it once, when the proxy starts.

Order (later wins): the code's defaults, `defaultConfig` of the mesh file, the PROXY_CONFIG variable that the
injector froze, the pod annotation `proxy.istio.io/config`.  A key replaces as a whole; only proxyMetadata
merges (Istio 1.19: pkg/config/mesh/mesh.go, pilot/cmd/pilot-agent/config).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from meshlib.errors import LabError
from meshlib.lab.istiod.minors import Minor
from meshlib.lab.istiod.translate.mesh import overlaid
from meshlib.lab.schema import load_yaml

Obj = Mapping[str, Any]

ANNOTATION = "proxy.istio.io/config"
DEFAULT_ZIPKIN = "zipkin.istio-system:9411"


def proxy_config(behaves: Minor, mesh: str = "", variable: str = "", annotation: str = "") -> dict[str, Any]:
    """The effective ProxyConfig; texts are YAML.  Raises LabError when one is not a YAML mapping."""
    config: dict[str, Any] = {
        "discoveryAddress": "istiod.istio-system.svc:15012",
        "proxyMetadata": {},
        "tracing": {"zipkin": {"address": DEFAULT_ZIPKIN}} if behaves.default_tracer else {},
    }
    mesh_file = _mapping(mesh, "the mesh file /etc/istio/config/mesh")
    for layer in (
        _mapping(mesh_file.get("defaultConfig"), "defaultConfig of the mesh file"),
        _mapping(variable, "the variable PROXY_CONFIG"),
        _mapping(annotation, f"the annotation {ANNOTATION}"),
    ):
        config = overlaid(config, layer)
    return config


def zipkin_address(config: Mapping[str, Any]) -> str | None:
    """`host:port` of the bootstrap's own Zipkin tracer, None when the ProxyConfig asks for none."""
    tracing = config.get("tracing") or {}
    address = (tracing.get("zipkin") or {}).get("address")
    return str(address) if address else None


def of_pod(pod: Obj, container: Obj, behaves: Minor, mesh: str) -> dict[str, Any]:
    """The ProxyConfig of a pod's proxy container; `mesh` is the mesh file's text, "" if none is mounted."""
    variable = next(
        (str(e.get("value", "")) for e in container.get("env", []) if e["name"] == "PROXY_CONFIG"), ""
    )
    annotation = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    return proxy_config(behaves, mesh, variable, annotation)


def _mapping(source: object, what: str) -> dict[str, Any]:
    if isinstance(source, str):
        try:
            source = json.loads(source) if source.startswith("{") else load_yaml(source)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise LabError(
                f"{what} cannot be parsed: {error}", fix="kubectl -n istio-system edit configmap istio"
            ) from error
    if source is None:
        return {}
    if not isinstance(source, dict):
        raise LabError(
            f"{what} is no mapping but {type(source).__name__}",
            fix="kubectl -n istio-system edit configmap istio",
        )
    return source
