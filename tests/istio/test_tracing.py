"""Tracing on each minor of Istio: what the profile brings, what step 07 adds, the spans of a request."""

from __future__ import annotations

import pytest
import yaml

from meshlib import parameters
from meshlib.istio import jaeger, manifest, mesh, support, tracing

# minor, default tracer, the provider that is used and its protocol, whether a Telemetry is needed, spans a
# request.  Sources: the release notes of 1.22 (no default tracer), the demo profile of 1.25 (its provider),
# pilot/pkg/networking/core/tracing.go of 1.26 (the gateway's span for its own call).
GOLDEN = """
17  zipkin  meshlib-zipkin  zipkin         no   2
18  zipkin  meshlib-zipkin  zipkin         no   2
19  zipkin  meshlib-zipkin  zipkin         no   2
20  zipkin  meshlib-zipkin  zipkin         no   2
21  zipkin  meshlib-zipkin  zipkin         no   2
22  none    meshlib-zipkin  zipkin         yes  2
23  none    meshlib-zipkin  zipkin         yes  2
24  none    meshlib-zipkin  zipkin         yes  2
25  none    jaeger          opentelemetry  yes  2
26  none    jaeger          opentelemetry  yes  3
27  none    jaeger          opentelemetry  yes  3
28  none    jaeger          opentelemetry  yes  3
29  none    jaeger          opentelemetry  yes  3
30  none    jaeger          opentelemetry  yes  3
31  none    jaeger          opentelemetry  yes  3
"""


def row(minor: int) -> str:
    version = f"1.{minor}.0"
    cfg = parameters.complete({"istio_version": version})
    config = mesh.parse(manifest.mesh_config(version, "istio-system"))
    default = next(iter(config["defaultConfig"].get("tracing", {})), "none")
    chosen = tracing.provider(config, cfg)
    (protocol,) = set(chosen) - {"name"}
    needed = "yes" if tracing.needs_telemetry(cfg) else "no"
    return f"{minor} {default} {chosen['name']} {protocol} {needed} {tracing.spans_each(cfg)}"


def test_every_minor_of_the_matrix() -> None:
    assert [row(minor) for minor in support.MATRIX] == [
        " ".join(line.split()) for line in GOLDEN.split("\n")[1:-1]
    ]


@pytest.mark.parametrize("minor", support.MATRIX)
def test_step_07_adds_sampling_and_a_provider_and_loses_nothing(minor: int) -> None:
    version = f"1.{minor}.0"
    cfg = parameters.complete({"istio_version": version})
    before = mesh.parse(manifest.mesh_config(version, "istio-system"))
    provider = tracing.provider(before, cfg)
    after = yaml.safe_load(mesh.render(mesh.with_provider(mesh.with_sampling(before, 1.0), provider)))
    assert after["defaultConfig"]["tracing"].pop("sampling") == 1.0
    assert provider in after["extensionProviders"]
    if provider["name"] == tracing.OWN_PROVIDER:
        after["extensionProviders"].remove(provider)
    if not after["defaultConfig"]["tracing"]:
        del after["defaultConfig"]["tracing"]
    assert after == before


@pytest.mark.parametrize("minor", [minor for minor in support.MATRIX if minor >= 19])
def test_the_provider_sends_to_a_service_of_the_jaeger_that_fits(minor: int) -> None:
    cfg = parameters.complete({"istio_version": f"1.{minor}.0"})
    config = mesh.parse(manifest.mesh_config(cfg.istio_version, "istio-system"))
    provider = tracing.provider(config, cfg)
    to = provider.get("zipkin") or provider["opentelemetry"]
    made = jaeger.objects(jaeger.BY_ISTIO_MINOR[minor], "istio-system")
    services = {
        f"{each['metadata']['name']}.istio-system.svc.cluster.local": [
            p["port"] for p in each["spec"]["ports"]
        ]
        for each in made
        if each["kind"] == "Service"
    }
    assert to["port"] in services[to["service"]]
