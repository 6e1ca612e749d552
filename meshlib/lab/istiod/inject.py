"""Pure: a pod in, the pod with a sidecar out, as istiod's injection webhook changes it.

Whether to inject at all follows pkg/kube/inject (host network, the label and the annotation
`sidecar.istio.io/inject`, the selectors of the injector's ConfigMap); what is added follows the `sidecar`
template of the minor.  Two things differ because the lab has neither pilot-agent nor network namespaces:
HTTP probes of the app stay as they are, and `istio-init` has nothing to set up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from meshlib.errors import Unsupported
from meshlib.lab.istiod import sidecar
from meshlib.lab.istiod.bootstrap import canonical_name
from meshlib.lab.istiod.minors import minor, minor_of_image
from meshlib.lab.istiod.proxyconfig import ANNOTATION
from meshlib.lab.istiod.selectors import matches
from meshlib.lab.istiod.sidecar import DEFAULT_RESOURCES, Settings
from meshlib.lab.schema import load_yaml

Obj = dict[str, Any]

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
TEMPLATES = "inject.istio.io/templates"
NEVER = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
TRUE = ("y", "yes", "true", "on")


def settings(injector: Obj | None, mesh: str, own_image: str, namespace: str) -> Settings:
    """From the ConfigMap `istio-sidecar-injector` (None if there is none), the mesh text and istiod's image.

    Raises yaml.YAMLError when one of the texts is no YAML.
    """
    data = (injector or {}).get("data") or {}
    config = yaml.safe_load(data.get("config", "")) or {}
    values = (yaml.safe_load(data.get("values", "")) or {}).get("global") or {}
    mesh_config = yaml.safe_load(mesh)
    mesh_config = mesh_config if isinstance(mesh_config, dict) else {}
    hub, _, rest = own_image.rpartition("/")
    proxy = values.get("proxy") or {}
    name = proxy.get("image", "proxyv2")
    tag = values.get("tag") or rest.partition(":")[2]
    image = name if "/" in name else f"{values.get('hub') or hub}/{name}:{tag}"
    return Settings(
        image=image,
        policy=config.get("policy", "enabled"),
        never=tuple(config.get("neverInjectSelector") or ()),
        always=tuple(config.get("alwaysInjectSelector") or ()),
        namespace=namespace,
        trust_domain=mesh_config.get("trustDomain", "cluster.local"),
        default_config=mesh_config.get("defaultConfig") or {},
        resources=proxy.get("resources") or DEFAULT_RESOURCES,
        prometheus_merge=mesh_config.get("enablePrometheusMerge", True) is not False,
    )


def required(pod: Obj, namespace: str, given: Settings) -> bool:
    """Whether this pod gets a sidecar; the webhook's own selectors have been applied by the API server."""
    if pod["spec"].get("hostNetwork") or namespace in NEVER:
        return False
    labels = pod["metadata"].get("labels") or {}
    asked = labels.get(INJECT) or (pod["metadata"].get("annotations") or {}).get(INJECT, "")
    if asked:
        return asked.lower() in TRUE
    if any(matches(selector, labels) for selector in given.never if selector):
        return False
    if any(matches(selector, labels) for selector in given.always if selector):
        return True
    return given.policy == "enabled"


def injected(pod: Obj, namespace: str, given: Settings) -> Obj:
    """The pod with labels, annotations, istio-init, istio-proxy and their volumes; `pod` is not changed.

    Raises Unsupported for a template other than `sidecar`, in istiod's own words.
    """
    meta = {**pod["metadata"], "namespace": namespace}
    pod = {**pod, "metadata": meta}
    annotations: dict[str, str] = dict(meta.get("annotations") or {})
    for name in filter(None, (part.strip() for part in annotations.get(TEMPLATES, "sidecar").split(","))):
        if name != "sidecar":
            raise Unsupported(f'requested template "{name}" not found; have sidecar (embedded lab)')
    number = minor_of_image(given.image, 19)
    proxy = sidecar.proxy(pod, given, number)
    spec = dict(pod["spec"])
    own = next((c for c in spec.get("containers", []) if c["name"] == "istio-proxy"), None)
    apps = [c for c in spec.get("containers", []) if c is not own]
    if own is not None:
        proxy = {**proxy, **{k: v for k, v in own.items() if not (k == "image" and v == "auto")}}
    others = [c for c in spec.get("initContainers", []) if c["name"] not in ("istio-init", "istio-proxy")]
    init = sidecar.init(given, annotations)
    if minor(number).native_sidecar:
        spec["initContainers"] = [init, {**proxy, "restartPolicy": "Always"}, *others]
        spec["containers"] = apps
    else:
        spec["initContainers"] = [init, *others]
        spec["containers"] = [proxy, *apps] if _holds(given, annotations) else [*apps, proxy]
    volumes = sidecar.volumes()
    names = {v["name"] for v in volumes}
    spec["volumes"] = [*volumes, *(v for v in spec.get("volumes", []) if v["name"] not in names)]
    labels = {
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": canonical_name(pod),
        "service.istio.io/canonical-revision": _revision(meta.get("labels") or {}),
        **(meta.get("labels") or {}),
    }
    annotations["istio.io/rev"] = given.revision
    if apps:
        annotations.setdefault("kubectl.kubernetes.io/default-container", apps[0]["name"])
        annotations.setdefault("kubectl.kubernetes.io/default-logs-container", apps[0]["name"])
    if given.prometheus_merge and annotations.get("prometheus.io/scrape", "true") == "true":
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "15020",
            "prometheus.io/path": "/stats/prometheus",
        }
    native = minor(number).native_sidecar
    annotations[STATUS] = json.dumps(
        {
            "initContainers": ["istio-init", *(["istio-proxy"] if native else [])],
            "containers": None if native else ["istio-proxy"],
            "volumes": [v["name"] for v in volumes],
            "imagePullSecrets": None,
            "revision": given.revision,
        },
        separators=(",", ":"),
    )
    return {**pod, "metadata": {**meta, "labels": labels, "annotations": annotations}, "spec": spec}


def patch(before: Obj, after: Obj) -> list[Obj]:
    """The JSON patch from one pod to the other: whole members of metadata and spec that differ."""
    operations: list[Obj] = []
    for part in ("metadata", "spec"):
        for key, value in after[part].items():
            if before[part].get(key) != value:
                operations.append({"op": "add", "path": f"/{part}/{key}", "value": value})
    return operations


def _revision(labels: Mapping[str, str]) -> str:
    for key in ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"):
        if labels.get(key):
            return labels[key]
    return "latest"


def _holds(given: Settings, annotations: Mapping[str, str]) -> bool:
    own = load_yaml(annotations.get(ANNOTATION, "")) or {}
    if not isinstance(own, dict):
        raise yaml.YAMLError(f"the annotation {ANNOTATION} is no mapping but {type(own).__name__}")
    config = {**given.default_config, **own}
    return config.get("holdApplicationUntilProxyStarts") is True
