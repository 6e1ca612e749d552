"""The gateway's certificate in the cluster: the Secret that Envoy serves, the CA certificate that clients
trust."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd

from meshlib.errors import ClusterError
from meshlib.istio import objects
from meshlib.kube.apply import apply
from meshlib.kube.client import Cluster
from meshlib.parameters import Config
from meshlib.tls import Pair
from meshlib.trust import trust_file

CA_KEY = "ca.crt"


def ca_name(cfg: Config) -> str:
    """The ConfigMap with the CA certificate, in the workload's namespace: public, so no Secret."""
    return f"{cfg.credential_name}-ca"


def publish(cluster: Cluster, cfg: Config, ca: Pair, leaf: Pair) -> pd.DataFrame:
    """Store the leaf with its key in the gateway's namespace and the CA certificate (never its key) beside
    the workload."""
    return apply(
        cluster,
        [
            objects.tls_secret(cfg.credential_name, cfg.istio_namespace, leaf.certificate, leaf.key),
            objects.config_map(ca_name(cfg), cfg.namespace, {CA_KEY: ca.certificate}),
        ],
    )


def stored(cluster: Cluster, cfg: Config) -> str:
    """The certificate (PEM) in the Secret; its key is not decoded."""
    secret = cluster.get("secrets", cfg.credential_name, cfg.istio_namespace)
    return base64.b64decode(secret["data"]["tls.crt"]).decode()


def ca_file(cluster: Cluster, cfg: Config) -> Path:
    """The CA certificate as a file for `--cacert`.  Raises `ClusterError` when step 03 has not run."""
    found = cluster.find("configmaps", ca_name(cfg), cfg.namespace)
    if found is None:
        raise ClusterError(
            f"there is no ConfigMap {cfg.namespace}/{ca_name(cfg)} with the CA certificate",
            status=404,
            fix="run notebook 03_certificate first",
        )
    return trust_file(found["data"][CA_KEY])
