"""What differs between Istio minors, once: the translator, the bootstrap and the injector read this table.

Each row names the first minor that behaves so, and where that is written down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

OLDEST, NEWEST = 17, 31
"""The minors of Istio 1.x that the table describes."""

UNTAGGED = "1.19.3"
"""The version taken for an image whose tag is no version, such as `latest`: the one of the lab's exercise."""


@dataclass(frozen=True)
class Behaviour:
    """How one Istio minor behaves where minors differ."""

    version: str
    minor: int
    default_zipkin_tracer: bool
    """Unset tracing means zipkin.istio-system:9411 (until 1.21; release note drop-default-tracing)."""
    retries_503: bool
    """The default retry policy retries status 503 (until 1.23; release note 50506)."""
    gateway_upstream_span: bool
    """With a provider a gateway opens one more span for the call upstream (since 1.26; commit 915c9e9)."""
    native_sidecar: bool
    """istio-proxy is an init container that restarts always (since 1.27; note native-sidecar-default)."""
    b3_and_w3c_option: bool
    """A zipkin provider may choose USE_B3_WITH_W3C_PROPAGATION (since 1.28)."""
    zipkin_http_service: bool
    """The zipkin provider's collector is an HttpService with a timeout of 5 s (since 1.29)."""
    v1_apis: bool
    """networking, security and telemetry are served as v1 too (since 1.22)."""
    proxy_status_by_type: bool
    """`istioctl proxy-status` shows the subscribed types instead of one column each (since 1.28)."""


@lru_cache
def behaviour(version: str) -> Behaviour:
    """The behaviour of an Istio version such as `1.19.3`, `1.27` or `1.19.3-distroless`.

    A minor outside the table behaves as the nearest one in it; a tag that is no version as `UNTAGGED`.
    """
    found = re.match(r"v?1\.(\d+)", version)
    if found is None:
        return behaviour(UNTAGGED)
    minor = int(found[1])
    return Behaviour(
        version=version,
        minor=minor,
        default_zipkin_tracer=minor <= 21,
        retries_503=minor <= 23,
        gateway_upstream_span=minor >= 26,
        native_sidecar=minor >= 27,
        b3_and_w3c_option=minor >= 28,
        zipkin_http_service=minor >= 29,
        v1_apis=minor >= 22,
        proxy_status_by_type=minor >= 28,
    )


def image_version(image: str) -> str:
    """The tag of an image, `docker.io/istio/proxyv2:1.19.3` → `1.19.3`; without a tag `UNTAGGED`."""
    last = image.split("@", 1)[0].rsplit("/", 1)[-1]
    _, colon, tag = last.partition(":")
    return tag if colon else UNTAGGED
