"""AuthorizationPolicies as RBAC filters: AUDIT, then DENY, then ALLOW.

Source: istio/istio pilot/pkg/security/authz/builder/builder.go, model/model.go; istio-facts C7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshlib.lab.istiod.translate import conditions
from meshlib.lab.istiod.translate.mesh import mesh_config
from meshlib.lab.istiod.translate.model import Obj, Problem, Proxy, describe, typed
from meshlib.lab.istiod.translate.trustdomains import aliased
from meshlib.lab.istiod.translate.world import World

_ACTIONS = {"AUDIT": "LOG", "DENY": "DENY", "ALLOW": "ALLOW"}
_SHADOW = {"ALLOW": "istio_dry_run_allow_", "DENY": "istio_dry_run_deny_"}
_HTTP = "envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK = "envoy.extensions.filters.network.rbac.v3.RBAC"
#: The lab is its mesh's only listener of audits, so that AUDIT only counts, as in Istio without a plugin.
NEVER: Obj = {
    "permissions": [{"not_rule": {"any": True}}],
    "principals": [{"not_id": {"any": True}}],
}


def policies(world: World, proxy: Proxy) -> list[Obj]:
    """The policies for a workload: of the root namespace, then of its own, each by age."""
    found = []
    for namespace in dict.fromkeys((world.root_namespace, proxy.namespace)):
        for policy in world.all("AuthorizationPolicy"):
            if policy["metadata"]["namespace"] != namespace:
                continue
            labels = (policy.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
            if all(proxy.labels.get(key) == value for key, value in labels.items()):
                found.append(policy)
    return found


def filters(
    world: World,
    proxy: Proxy,
    ports: Mapping[int, tuple[int, ...]],
    problems: list[Problem],
    *,
    tcp: bool,
) -> list[Obj]:
    """The RBAC filters of a workload for chains of HTTP, or for `tcp` of plain connections.

    ports: declared port → the numbers under which it is bound
    """
    here = conditions.Here(proxy.namespace, proxy.address, ports, mesh_config(world).trust_domains)
    chosen = policies(world, proxy)
    found = []
    for action in ("AUDIT", "DENY", "ALLOW"):
        acting = [p for p in chosen if (p.get("spec", {}).get("action") or "ALLOW") == action]
        if acting:
            found.append(_filter(acting, action, here, problems, tcp=tcp))
    for policy in chosen:
        action = policy.get("spec", {}).get("action") or "ALLOW"
        if action not in _ACTIONS:
            text = f"action {action} is not supported by the embedded lab; requests are denied"
            problems.append(Problem(describe(policy), text))
    if any((p.get("spec", {}).get("action") or "ALLOW") not in _ACTIONS for p in chosen):
        found.insert(0, _deny_all(tcp=tcp))
    return found


def _deny_all(*, tcp: bool) -> Obj:
    """What istiod does where a CUSTOM policy's provider cannot be used: nobody comes in."""
    everything = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    rules = {"action": "DENY", "policies": {"default-deny-all-due-to-bad-CUSTOM-action": everything}}
    return _wrap({"rules": rules}, tcp=tcp)


def _wrap(fields: Mapping[str, Any], *, tcp: bool) -> Obj:
    if tcp:
        return {
            "name": "envoy.filters.network.rbac",
            "typed_config": typed(_NETWORK, stat_prefix="tcp.", **fields),
        }
    return {"name": "envoy.filters.http.rbac", "typed_config": typed(_HTTP, **fields)}


def _filter(
    acting: list[Obj], action: str, here: conditions.Here, problems: list[Problem], *, tcp: bool
) -> Obj:
    enforced: dict[str, Obj] = {}
    shadow: dict[str, Obj] = {}
    dry_runs = [is_dry_run(policy) for policy in acting]
    for policy, dry in zip(acting, dry_runs, strict=True):
        target = shadow if dry else enforced
        rules = policy.get("spec", {}).get("rules") or []
        for number, rule in enumerate(rules):
            built = _rule(policy, rule or {}, action, here, problems, tcp=tcp)
            if built is not None:
                target[_name(policy, number)] = built
        if not rules:
            target[_name(policy, 0)] = NEVER
    fields: Obj = {}
    if not all(dry_runs):
        fields["rules"] = {"action": _ACTIONS[action], "policies": enforced}
    if any(dry_runs):
        fields["shadow_rules"] = {"action": _ACTIONS[action], "policies": shadow}
        if action in _SHADOW:
            fields["shadow_rules_stat_prefix"] = _SHADOW[action]
    return _wrap(fields, tcp=tcp)


def is_dry_run(policy: Obj) -> bool:
    value = str((policy["metadata"].get("annotations") or {}).get("istio.io/dry-run", ""))
    return value in ("1", "t", "T", "TRUE", "true", "True")


def _name(policy: Obj, number: int) -> str:
    meta = policy["metadata"]
    return f"ns[{meta['namespace']}]-policy[{meta['name']}]-rule[{number}]"


def _rule(
    policy: Obj,
    rule: Mapping[str, Any],
    action: str,
    here: conditions.Here,
    problems: list[Problem],
    *,
    tcp: bool,
) -> Obj | None:
    """One rule as an RBAC policy; None where it cannot hold on this kind of chain.

    On a TCP chain a condition on HTTP makes an ALLOW rule vanish and a DENY rule wider (fewer
    conditions).
    """
    here = replace(here, namespace=policy["metadata"]["namespace"])
    when = [
        (item["key"], item.get("values") or [], item.get("notValues") or [])
        for item in rule.get("when") or []
    ]
    going = [item for item in when if conditions.is_permission(item[0])]
    coming = [item for item in when if not conditions.is_permission(item[0])]
    ignored: list[str] = []
    try:
        permissions = [
            _conjunction(
                "rules",
                conditions.listed(to.get("operation") or {}, conditions.OPERATIONS) + going,
                action,
                here,
                ignored,
                tcp=tcp,
            )
            for to in rule.get("to") or [{}]
        ]
        principals = [
            _conjunction(
                "ids",
                conditions.listed(of.get("source") or {}, conditions.SOURCES) + coming,
                action,
                here,
                ignored,
                tcp=tcp,
            )
            for of in rule.get("from") or [{}]
        ]
    except conditions.HttpOnly:
        return None
    except conditions.Unknown as error:
        problems.append(Problem(describe(policy), str(error)))
        return None
    problems += [Problem(describe(policy), f"{text}; without it the rule is wider") for text in ignored]
    return {"permissions": permissions, "principals": principals}


def _conjunction(
    kind: str,
    items: list[tuple[str, list[str], list[str]]],
    action: str,
    here: conditions.Here,
    ignored: list[str],
    *,
    tcp: bool,
) -> Obj:
    """All keys must hold, each by one of its values and by none of the unwanted ones."""
    parts: list[Obj] = []
    for key, values, unwanted in items:
        try:
            wanted = _conditions(kind, key, values, here, tcp=tcp)
            excluded = _conditions(kind, key, unwanted, here, tcp=tcp)
        except (conditions.HttpOnly, conditions.Unknown) as error:
            if action == "ALLOW":
                raise
            if isinstance(error, conditions.Unknown):
                ignored.append(str(error))
            continue
        if wanted:
            parts.append(conditions.any_of(kind, wanted))
        if excluded:
            parts.append(conditions.none_of(kind, excluded))
    return conditions.all_of(kind, parts)


def _conditions(kind: str, key: str, values: list[str], here: conditions.Here, *, tcp: bool) -> list[Obj]:
    if not values:
        return []
    if kind == "rules":
        return conditions.permission(key, values, here, tcp=tcp)
    if key == "source.principal":
        values = aliased(values, here.trust_domains)
    return conditions.principal(key, values, tcp=tcp, namespace=here.namespace)
