"""The mesh configuration: ConfigMap `istio`, key `mesh`, edited as structure, with a diff and an exact undo.

How istiod reads the text (Istio 1.19: pkg/util/protomarshal): strictly first, then once more with unknown
fields dropped.  A typing mistake therefore costs the setting, not an error message.  Only text that is no
YAML at all is rejected, and then the last good configuration stays in force.
"""

from __future__ import annotations

import copy
import textwrap
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from meshlib.errors import ClusterError
from meshlib.kube.apply import MANAGER
from meshlib.kube.client import Cluster, Obj

CONFIG_MAP, KEY = "istio", "mesh"
BEFORE = "meshlib.dev/mesh-before"

_NAMES = """
accessLogEncoding accessLogFile accessLogFormat ca caCertificates certificates configSources connectTimeout
defaultConfig defaultDestinationRuleExportTo defaultHttpRetryPolicy defaultProviders defaultServiceExportTo
defaultVirtualServiceExportTo disableEnvoyListenerLog discoverySelectors dnsRefreshRate enableAutoMtls
enableEnvoyAccessLogService enablePrometheusMerge enableTracing extensionProviders h2UpgradePolicy
inboundClusterStatName inboundTrafficPolicy ingressClass ingressControllerMode ingressSelector ingressService
localityLbSetting meshMTLS outboundClusterStatName outboundTrafficPolicy pathNormalization
protocolDetectionTimeout proxyHttpPort proxyInboundListenPort proxyListenPort rootNamespace serviceSettings
tcpKeepalive thriftConfig tlsDefaults trustDomain trustDomainAliases verifyCertificateAtClient
"""
FIELDS = frozenset(_NAMES.split())
"""The fields of MeshConfig (istio/api, mesh/v1alpha1/config.proto); the rest is dropped without a word."""

SEED_EDIT = textwrap.dedent(
    """\
    accessLogFile: /dev/stdout
    defaultConfig:
    discoveryAddress: istiod.istio-system.svc:15012
    proxyMetadata: {}
    tracing:
        sampling: 100.0
    """
)
"""What the exercise's step 7 leaves in the ConfigMap: two levels of indentation are lost."""


@dataclass(frozen=True)
class Mesh:
    """The ConfigMap as it is: exact text, the same parsed, and the version that an edit must be based on."""

    text: str
    config: dict[str, Any]
    version: str
    before: str | None


def read(cluster: Cluster, namespace: str) -> Mesh:
    """The mesh configuration.  Raises `ClusterError` when there is no ConfigMap `istio` or its text is no
    mapping."""
    found = cluster.get("configmaps", CONFIG_MAP, namespace)
    text = found["data"][KEY]
    before = found["metadata"].get("annotations", {}).get(BEFORE)
    return Mesh(text, parse(text), found["metadata"]["resourceVersion"], before)


def parse(text: str) -> dict[str, Any]:
    """The text as istiod's YAML parser sees it.  Raises `ClusterError` when it is no mapping."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise ClusterError(f"ConfigMap {CONFIG_MAP}: data.{KEY} is not YAML: {cause}") from cause
    if not isinstance(config, dict):
        raise ClusterError(f"ConfigMap {CONFIG_MAP}: data.{KEY} is {type(config).__name__}, not a mapping")
    return config


def with_sampling(config: dict[str, Any], percent: float) -> dict[str, Any]:
    """A copy with `defaultConfig.tracing.sampling`; proxies take it up when they start."""
    changed = copy.deepcopy(config)
    default = changed.get("defaultConfig") or {}
    default["tracing"] = {**(default.get("tracing") or {}), "sampling": percent}
    changed["defaultConfig"] = default
    return changed


def with_provider(config: dict[str, Any], provider: dict[str, Any]) -> dict[str, Any]:
    """A copy with the extension provider; one of the same name is replaced, the others stay."""
    changed = copy.deepcopy(config)
    others = [
        each for each in changed.get("extensionProviders") or [] if each.get("name") != provider["name"]
    ]
    changed["extensionProviders"] = [*others, provider]
    return changed


def render(config: dict[str, Any]) -> str:
    """The configuration as text, keys in their order."""
    return str(yaml.safe_dump(config, sort_keys=False))


def write(cluster: Cluster, namespace: str, mesh: Mesh, text: str) -> None:
    """Replace the text, unless somebody changed it since `mesh` was read (409).

    The text of before our first edit is kept in an annotation, so that `restore` works from any notebook.
    """
    change: Obj = {
        "metadata": {
            "resourceVersion": mesh.version,
            "annotations": {BEFORE: mesh.text if mesh.before is None else mesh.before},
        },
        "data": {KEY: text},
    }
    cluster.merge("configmaps", CONFIG_MAP, change, namespace, manager=MANAGER)


def restore(cluster: Cluster, namespace: str) -> bool:
    """Put back the exact text of before our first edit; False when we never edited it."""
    mesh = read(cluster, namespace)
    if mesh.before is None:
        return False
    change: Obj = {
        "metadata": {"resourceVersion": mesh.version, "annotations": {BEFORE: None}},
        "data": {KEY: mesh.before},
    }
    cluster.merge("configmaps", CONFIG_MAP, change, namespace, manager=MANAGER)
    return True


def understood(text: str) -> pd.DataFrame:
    """What istiod makes of a mesh text, one row a top-level key: Key, Known, Taken up as."""
    rows = []
    for key, value in parse(text).items():
        known = key in FIELDS
        taken = (
            "dropped without a word"
            if not known
            else "null: nothing is set"
            if value is None
            else _short(value)
        )
        rows.append((key, "yes" if known else "no", taken))
    return pd.DataFrame(rows, columns=["Key", "Known", "Taken up as"])


def effective_sampling(text: str) -> float | None:
    """`defaultConfig.tracing.sampling` as istiod reads it, None when it is not set there."""
    default = parse(text).get("defaultConfig") or {}
    sampling = (default.get("tracing") or {}).get("sampling")
    return None if sampling is None else float(sampling)


def provider_names(config: dict[str, Any]) -> list[str]:
    """The names of the extension providers."""
    return [each["name"] for each in config.get("extensionProviders") or []]


def _short(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("\n...")
    return text if len(text) <= 90 else text[:89] + "…"
