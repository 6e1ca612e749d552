"""VirtualServices that hand routes to others (`delegate`): the root's condition and the delegate's must both
hold.

Source: istio/istio pilot/pkg/model/virtualservice.go (mergeVirtualServicesIfNeeded).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshlib.lab.istiod.translate.model import Obj

Route = dict[str, Any]
#: What a delegate's route takes from the root's where it says nothing itself.
_INHERITED = (
    "rewrite",
    "directResponse",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrorPercent",
    "mirror_percent",
    "mirrorPercentage",
    "corsPolicy",
    "mirrors",
    "headers",
)
_STRINGS = ("uri", "scheme", "method", "authority")
_MAPS = ("headers", "withoutHeaders", "queryParams")


def is_root(spec: Mapping[str, Any]) -> bool:
    return any(route.get("delegate") is not None for route in spec.get("http") or [])


def named(spec: Mapping[str, Any], namespace: str) -> list[tuple[str, str]]:
    """The (namespace, name) of every delegate of a root, in order."""
    found = [route["delegate"] for route in spec.get("http") or [] if route.get("delegate") is not None]
    return [(item.get("namespace") or namespace, item.get("name", "")) for item in found]


def resolved(route: Route, host: Callable[[str], str], gateway: Callable[[str], str]) -> Route:
    """The route with its hosts and gateways in full, so that another namespace's object may hold it."""

    def destination(item: Mapping[str, Any]) -> Obj:
        return {**item, "host": host(item.get("host", ""))}

    found = dict(route)
    for name in ("route", "mirrors"):
        if route.get(name):
            found[name] = [
                {**item, "destination": destination(item["destination"])} if item.get("destination") else item
                for item in route[name]
            ]
    if route.get("mirror"):
        found["mirror"] = destination(route["mirror"])
    if route.get("match"):
        found["match"] = [
            {**match, "gateways": [gateway(name) for name in match["gateways"]]}
            if match.get("gateways")
            else match
            for match in route["match"]
        ]
    return found


def merge(root: Route, delegate: list[Route]) -> tuple[list[Route], list[str]]:
    """The delegate's routes under the root's route, and why others of them are ignored."""
    found, ignored = [], []
    for number, route in enumerate(delegate):
        matches = _matches(root.get("match") or [], route.get("match") or [])
        if matches is None:
            ignored.append(f"route {number} of the delegate is ignored: it matches what the root does not")
            continue
        inherited = {name: root[name] for name in _INHERITED if root.get(name) is not None}
        merged = {**inherited, **{name: value for name, value in route.items() if value is not None}}
        merged.pop("delegate", None)
        merged["match"] = matches
        if name := _joined(root.get("name", ""), route.get("name", "")):
            merged["name"] = name
        found.append(merged)
    return found, ignored


def _joined(root: str, own: str) -> str:
    return f"{root}-{own}" if root and own else root or own


def _matches(root: list[Obj], own: list[Obj]) -> list[Obj] | None:
    """Every pair of conditions of which the delegate's is the narrower; None where one of its fits none."""
    if not root or not own:
        return own or root
    found: list[Obj] = []
    for match in own:
        fitting = [_match(wider, match) for wider in root if not _conflict(wider, match)]
        if not fitting:
            return None
        found += fitting
    return found


def _match(root: Obj, own: Obj) -> Obj:
    found = {**own}
    for name in (*_STRINGS, "port", "sourceNamespace", "gateways", "statPrefix"):
        if not own.get(name) and root.get(name):
            found[name] = root[name]
    for name in (*_MAPS, "sourceLabels"):
        if both := {**(root.get(name) or {}), **(own.get(name) or {})}:
            found[name] = both
    if name := _joined(root.get("name", ""), own.get("name", "")):
        found["name"] = name
    return found


def _conflict(root: Obj, own: Obj) -> bool:
    if any(_strings_conflict(root.get(name), own.get(name)) for name in _STRINGS):
        return True
    for name in _MAPS:
        wider = root.get(name) or {}
        for key, value in (own.get(name) or {}).items():
            if _strings_conflict(wider.get(key), value):
                return True
    if bool(root.get("ignoreUriCase")) != bool(own.get("ignoreUriCase")):
        return True
    if root.get("port") and own.get("port") and root["port"] != own["port"]:
        return True
    if root.get("sourceNamespace") and own.get("sourceNamespace") != root["sourceNamespace"]:
        return True
    labels = root.get("sourceLabels") or {}
    if any(labels.get(key, value) != value for key, value in (own.get("sourceLabels") or {}).items()):
        return True
    gateways = root.get("gateways") or []
    return bool(gateways and set(own.get("gateways") or []) - set(gateways))


def _strings_conflict(root: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> bool:
    """Whether the delegate's match is not within the root's; regular expressions are within nothing."""
    if root is None or own is None:
        return False
    exact, prefix = root.get("exact"), root.get("prefix")
    if (root.get("regex") or own.get("regex")) and (
        (own.get("regex") or own.get("prefix") or own.get("exact")) and (root.get("regex") or prefix or exact)
    ):
        return True
    if exact:
        return bool(own.get("prefix")) or own.get("exact") != exact
    if prefix and (narrower := own.get("prefix") or own.get("exact")):
        return not str(narrower).startswith(prefix)
    return True
