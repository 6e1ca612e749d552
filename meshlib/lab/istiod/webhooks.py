"""The admission webhooks: AdmissionReview in, AdmissionReview out.

`/inject` adds the sidecar, `/validate` judges Istio objects by the rules of `meshlib.lab.schema`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import yaml
from starlette.requests import Request
from starlette.responses import Response

from meshlib.errors import LabError, Unsupported
from meshlib.lab.istiod import inject, metrics
from meshlib.lab.istiod.sidecar import Settings
from meshlib.lab.schema.istio_rules import judge
from meshlib.lab.schema.unsupported import unsupported

LOG = logging.getLogger("istiod.webhook")

Obj = dict[str, Any]


def review(request: Obj, allowed: bool, **more: Any) -> Obj:
    """An AdmissionReview that answers `request`; what is None in `more` is left out."""
    response = {"uid": request["uid"], "allowed": allowed, **{k: v for k, v in more.items() if v is not None}}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def injection(request: Obj, given: Settings) -> Obj:
    """The answer to a pod that is about to be created."""
    pod = request["object"]
    pod.setdefault("metadata", {})
    namespace = request["namespace"]
    metrics.INJECTIONS.inc()
    if not inject.required(pod, namespace, given):
        metrics.NOT_INJECTED.inc()
        return review(request, True)
    try:
        after = inject.injected(pod, namespace, given)
    except (LabError, Unsupported, yaml.YAMLError) as error:
        metrics.INJECTION_FAILURES.inc()
        return review(request, False, status={"message": str(error)})
    operations = inject.patch(pod, after)
    metrics.INJECTED.inc()
    encoded = base64.b64encode(msgspec.json.encode(operations)).decode()
    return review(request, True, patch=encoded, patchType="JSONPatch")


def validation(request: Obj) -> Obj:
    """The answer to an Istio object that is about to be created or changed; deletions are always allowed.

    What Istio would take and the lab cannot honour is refused like what Istio itself refuses.
    """
    obj = request.get("object")
    if not obj or request.get("operation") == "DELETE":
        return review(request, True)
    resource = request.get("resource") or {}
    labels = (resource.get("group", ""), resource.get("version", ""), resource.get("resource", ""))
    judgement = judge(obj)
    judgement.add(*unsupported(obj))
    warnings = judgement.warnings or None
    if text := str(judgement):
        metrics.VALIDATION_FAILED.labels(*labels).inc()
        status = {"message": f"configuration is invalid: {text}"}
        return review(request, False, status=status, warnings=warnings)
    metrics.VALIDATION_PASSED.labels(*labels).inc()
    return review(request, True, warnings=warnings)


async def answer(request: Request, decide: Callable[[Obj], Obj]) -> Response:
    """Decode a review, decide, encode; 400 for a body that is none."""
    try:
        body = msgspec.json.decode(await request.body())
        admission = body["request"]
        _ = admission["uid"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        LOG.error("could not decode request: %r", error)
        return Response(f"could not decode request: {error!r}", status_code=400)
    return Response(msgspec.json.encode(decide(admission)), media_type="application/json")
