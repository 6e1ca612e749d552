"""The subresources that are verbs: eviction, binding, tokens, logs, and the ways into a pod."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.websockets import WebSocket

from meshlib.lab.schema import KindRef

from .bodies import check_names, read_object
from .call import Call
from .deletion import DeleteOptions
from .errors import StatusError, bad_request, conflict, invalid, not_found, too_many_requests
from .logs import pod_log
from .node import Node
from .registry import Registry
from .request import Target, write_options
from .responses import json_response, success
from .selectors import from_object
from .store import Obj
from .strategy import now
from .streams import attach, execute, port_forward
from .tokens import DEFAULT_LIFETIME_S, MAX_LIFETIME_S, MIN_LIFETIME_S, TokenIssuer

Handler = Callable[[Call, Node | None, TokenIssuer | None], Awaitable[Response]]
Stream = Callable[[Registry, Node | None, Target, WebSocket], Awaitable[None]]


async def log(call: Call, node: Node | None, _: TokenIssuer | None) -> Response:
    return await pod_log(call, node)


async def evict(call: Call, _: Node | None, __: TokenIssuer | None) -> Response:
    """POST pods/…/eviction: a delete that asks the PodDisruptionBudgets first (429 where they say no)."""
    options = write_options(call.query, "CreateOptions")
    eviction = read_object(
        call.target, call.body, call.content_type, kind=KindRef("policy", "v1", "Eviction")
    )
    if eviction["metadata"].get("name") not in (None, "", call.target.name):
        raise bad_request("name in URL does not match name in Eviction object")
    registry, namespace, name = call.registry, call.target.namespace, call.target.name or ""
    pod = registry.get("pods", namespace, name)
    running = (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed", "Pending")
    if running and "deletionTimestamp" not in pod["metadata"]:
        await _spend_budget(registry, pod, dry_run=options.dry_run)
    given = eviction.get("deleteOptions") or {}
    conditions = given.get("preconditions") or {}
    wanted = DeleteOptions(
        given.get("gracePeriodSeconds"),
        given.get("propagationPolicy"),
        conditions.get("uid"),
        conditions.get("resourceVersion"),
    )
    await registry.writer.delete(call.target.kind, namespace, name, wanted, call.write(options))
    return json_response(success(201), 201, form=call.form)


async def _spend_budget(registry: Registry, pod: Obj, *, dry_run: bool) -> None:
    namespace = pod["metadata"]["namespace"]
    labels = pod["metadata"].get("labels") or {}
    budgets = [
        each
        for each in registry.list("poddisruptionbudgets.policy", namespace)
        if from_object((each.get("spec") or {}).get("selector")).holds(labels)
    ]
    if len(budgets) > 1:
        text = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
        raise StatusError(500, "InternalError", text, {})
    for budget in budgets:
        status, name = budget.get("status") or {}, budget["metadata"]["name"]
        if status.get("disruptionsAllowed", 0) <= 0:
            message = (
                f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
                f"{status.get('currentHealthy', 0)} currently"
            )
            cause = {"reason": "DisruptionBudget", "message": message}
            raise too_many_requests(
                "Cannot evict pod as it would violate the pod's disruption budget.", causes=[cause]
            )

        def spend(live: Obj) -> None:
            live["status"]["disruptionsAllowed"] -= 1
            disrupted = live["status"].get("disruptedPods") or {}
            live["status"]["disruptedPods"] = {**disrupted, pod["metadata"]["name"]: now()}

        if not dry_run:
            await registry.modify(
                "poddisruptionbudgets.policy",
                namespace,
                name,
                spend,
                subresource="status",
                manager="kube-apiserver",
            )


async def bind(call: Call, _: Node | None, __: TokenIssuer | None) -> Response:
    """POST pods/…/binding: give a pod its node."""
    options = write_options(call.query, "CreateOptions")
    binding = read_object(call.target, call.body, call.content_type, kind=KindRef("", "v1", "Binding"))
    check_names(call.target, binding)
    node = (binding.get("target") or {}).get("name")
    name = call.target.name or ""
    if not node:
        causes = [("target.name", "FieldValueRequired", "Required value")]
        raise invalid("", "Binding", name, causes)

    def assign(live: Obj) -> None:
        live["spec"]["nodeName"] = node

    if assigned := call.registry.get("pods", call.target.namespace, name)["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{assigned}"'
        raise conflict("pods/binding", "", name, why)
    if not options.dry_run:
        manager = call.write(options).manager
        await call.registry.modify(
            "pods", call.target.namespace, name, assign, subresource="binding", manager=manager
        )
    return json_response(success(201), 201, form=call.form)


async def request_token(call: Call, _: Node | None, issuer: TokenIssuer | None) -> Response:
    """POST serviceaccounts/…/token."""
    ref = KindRef("authentication.k8s.io", "v1", "TokenRequest")
    asked = read_object(call.target, call.body, call.content_type, kind=ref)
    namespace, name = call.target.namespace or "", call.target.name or ""
    spec = asked.get("spec") or {}
    lifetime_s = spec.get("expirationSeconds") or DEFAULT_LIFETIME_S
    if lifetime_s < MIN_LIFETIME_S:
        message = f"Invalid value: {lifetime_s}: may not specify a duration less than 10 minutes"
        causes = [("spec.expirationSeconds", "FieldValueInvalid", message)]
        raise invalid(ref.group, ref.kind, "", causes)
    if lifetime_s > MAX_LIFETIME_S:
        message = f"Invalid value: {lifetime_s}: may not specify a duration larger than 2^32 seconds"
        raise invalid(ref.group, ref.kind, "", [("spec.expirationSeconds", "FieldValueInvalid", message)])
    if issuer is None:
        raise bad_request("this API server has no key to sign tokens with")
    pod = _bound(call, spec.get("boundObjectRef"))
    try:
        token, ends = issuer.issue(namespace, name, spec.get("audiences") or [], lifetime_s, pod)
    except KeyError as error:
        raise not_found("serviceaccounts", "", name) from error
    status = {"token": token, "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": now()}
    spec = {"audiences": [], "boundObjectRef": None, **spec, "expirationSeconds": lifetime_s}
    return call.answer({**asked, "metadata": metadata, "spec": spec, "status": status}, 201)


def _bound(call: Call, ref: Obj | None) -> dict[str, str] | None:
    """The pod that a token is to end with, if one is named; raises StatusError 400, 404, 409."""
    if not ref:
        return None
    if ref.get("kind") != "Pod":
        raise bad_request(
            f"cannot bind token to object of type {ref.get('kind')}: the lab binds to pods only"
        )
    name = ref.get("name") or ""
    pod = call.registry.get("pods", call.target.namespace, name)
    account, uid = call.target.name or "", pod["metadata"]["uid"]
    if pod["spec"].get("serviceAccountName", "default") != account:
        raise bad_request(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount '
            "name."
        )
    if ref.get("uid") not in (None, "", uid):
        why = (
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The "
            "object might have been deleted and then recreated"
        )
        raise conflict("Pod", "", name, why)
    return {"name": name, "uid": uid}


async def upgrade_required(_: Call, __: Node | None, ___: TokenIssuer | None) -> Response:
    """exec, attach and portforward are WebSocket only."""
    raise bad_request("Upgrade request required")


HANDLERS: dict[str | None, Handler] = {
    "attach": upgrade_required,
    "binding": bind,
    "eviction": evict,
    "exec": upgrade_required,
    "log": log,
    "portforward": upgrade_required,
    "token": request_token,
}
STREAMS: dict[str | None, Stream] = {"attach": attach, "exec": execute, "portforward": port_forward}
