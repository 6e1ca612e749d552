"""Telemetry: tracing, metrics and access logs."""

from __future__ import annotations

from meshlib.lab.schema.model import Obj

from . import common
from .judgement import Judgement

_TAGS = {"literal": ("value", "literal tag value"), "header": ("name", "header tag name")}
_TAGS["environment"] = ("name", "environment tag name")


def judge(found: Judgement, spec: Obj) -> None:
    common.selector(found, spec)
    for metrics in spec.get("metrics") or ():
        _providers(found, metrics)
        for override in metrics.get("overrides") or ():
            _override(found, override)
    tracing = spec.get("tracing") or []
    if len(tracing) > 1:
        found.warn("multiple tracing is not currently supported")
    for each in tracing:
        _tracing(found, each)
    for logging in spec.get("accessLogging") or ():
        _providers(found, logging)


def _providers(found: Judgement, block: Obj) -> None:
    if any(not each.get("name") for each in block.get("providers") or ()):
        found.add("providers.name may not be empty")


def _tracing(found: Judgement, tracing: Obj) -> None:
    if len(tracing.get("providers") or ()) > 1:
        found.warn("multiple providers is not currently supported")
    _providers(found, tracing)
    if not 0 <= (tracing.get("randomSamplingPercentage") or 0) <= 100:
        found.add("randomSamplingPercentage must be in range [0.0, 100.0]")
    for name, tag in (tracing.get("customTags") or {}).items():
        if not name:
            found.add("tag name may not be empty")
        for kind, (field, text) in _TAGS.items():
            if tag.get(kind) is not None and not tag[kind].get(field):
                found.add(f"{text} may not be empty")


def _override(found: Judgement, override: Obj) -> None:
    for name, tag in (override.get("tagOverrides") or {}).items():
        if not name:
            found.warn("tagOverrides.name may not be empty")
        if tag.get("operation", "UPSERT") == "UPSERT":
            if not tag.get("value"):
                found.add("tagOverrides.value must be set when operation is UPSERT")
        elif tag.get("value"):
            found.add("tagOverrides.value may only be set when operation is UPSERT")
    if (override.get("match") or {}).get("customMetric") == "":
        found.add("customMetric may not be empty")
