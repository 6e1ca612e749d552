"""What differs between Istio minors, as one table.

Sources: istio/istio tags 1.19.10 … 1.31.0-rc.0 (pilot/pkg/networking) and its release notes.
A minor that the table lacks takes the row of the nearest known one, older first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Minor:
    """The behaviour of one Istio minor, as far as the lab reproduces it.

    number: 19 stands for 1.19
    default_tracer: without any setting, proxies trace to zipkin.istio-system:9411 (until 1.21)
    retry_503: the default retry policy also retries the status code 503 (until 1.23)
    hash_keeps_hosts: with a consistent hash, retries may go to the host that failed (from 1.24 on)
    spawn_upstream_span: a gateway with a provider makes one more span, for the upstream call (from 1.26 on)
    w3c_option: Zipkin providers may propagate W3C headers beside B3 (from 1.28 on)
    native_sidecar: istio-proxy is injected as an init container that restarts always (default from 1.27 on)
    zipkin_service: the Zipkin tracer is configured by an HTTP service with a timeout (from 1.29 on)
    passthrough_cluster: the name of the cluster behind the inbound catch-all
    proxies_100_continue: `100 Continue` comes from the application, not from the proxy (from 1.23 on)
    inbound_retry: a sidecar retries what was reset before the application had it (from 1.24 on; from
    1.26 on not for gRPC)
    handshake_timeout: a gateway ends a handshake that takes longer than 15 s (from 1.24 on)
    cluster_tag: spans carry the tag istio.cluster_id (from 1.21 on)
    config_version: the version in the path by which routes and clusters name their object
    shadow_suffix: a mirrored request's host gets `-shadow` (until 1.27)
    absolute_names: a service's name with a dot at its end is the service too (from 1.27 on)
    """

    number: int
    default_tracer: bool
    retry_503: bool
    hash_keeps_hosts: bool
    spawn_upstream_span: bool
    w3c_option: bool
    native_sidecar: bool
    zipkin_service: bool
    passthrough_cluster: str
    proxies_100_continue: bool = False
    inbound_retry: bool = False
    handshake_timeout: bool = False
    absolute_names: bool = False
    cluster_tag: bool = False
    config_version: str = "v1alpha3"
    shadow_suffix: bool = True


_FIRST = Minor(19, True, True, False, False, False, False, False, "InboundPassthroughClusterIpv4")
_CHANGES: dict[int, dict[str, bool | str]] = {
    20: {},
    21: {"cluster_tag": True},
    22: {"default_tracer": False},
    23: {"passthrough_cluster": "InboundPassthroughCluster", "proxies_100_continue": True},
    24: {
        "retry_503": False,
        "hash_keeps_hosts": True,
        "inbound_retry": True,
        "handshake_timeout": True,
        "config_version": "v1",
    },
    25: {},
    26: {"spawn_upstream_span": True},
    27: {"native_sidecar": True, "absolute_names": True},
    28: {"w3c_option": True, "shadow_suffix": False},
    29: {"zipkin_service": True},
    30: {},
    31: {},
}


def _table() -> dict[int, Minor]:
    table = {_FIRST.number: _FIRST}
    row = _FIRST
    for number, changes in _CHANGES.items():
        row = replace(row, number=number, **changes)  # type: ignore[arg-type]
        table[number] = row
    return table


DEFAULT = 19
"""The minor for an image whose tag is no version, such as `latest`: the one of the lab's exercise."""

MINORS: dict[int, Minor] = _table()


def minor(number: int) -> Minor:
    """The row for 1.<number>; beyond either end of the table, the row at that end."""
    return MINORS[min(max(number, min(MINORS)), max(MINORS))]


def version_of_image(image: str) -> str:
    """The tag of an image: `docker.io/istio/proxyv2:1.19.3` → `1.19.3`, empty where it has none."""
    return image.split("@", 1)[0].rsplit("/", 1)[-1].partition(":")[2]


def minor_of_image(image: str, default: int) -> int:
    """The minor in an image's tag (`docker.io/istio/proxyv2:1.29.2` → 29), else `default`."""
    found = re.match(r"v?1\.(\d+)(?:[.\-]|$)", version_of_image(image))
    return int(found.group(1)) if found else default
