"""Mode 3: requests that no route of a gateway takes (404)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from meshlib.istio.diagnose.model import (
    ERROR,
    Finding,
    Obj,
    Snapshot,
    gateway_servers,
    name_of,
    space,
)

NO_ROUTE = "the gateway finds no route and answers 404 itself (response flag NR)"


def bound(snapshot: Snapshot, service: Obj) -> list[tuple[str, Obj | None]]:
    """(name as written, Gateway or None) of a VirtualService, without `mesh`."""
    found = []
    for name in service["spec"].get("gateways") or []:
        if name == "mesh":
            continue
        namespace, slash, short = name.partition("/")
        where, what = (namespace, short) if slash else (space(service), name)
        found.append((name, snapshot.find("Gateway", what, where)))
    return found


def overlap(one: str, other: str) -> bool:
    """Whether two hosts, each maybe with a leading wildcard, have a name in common."""
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other.startswith("*") else one == other


def published(gateway: Obj, service: Obj) -> list[str]:
    """The hosts of a VirtualService that a Gateway publishes for its namespace."""
    found = []
    for _, server in gateway_servers(gateway):
        for entry in server.get("hosts") or []:
            namespace, slash, host = entry.rpartition("/")
            of = space(gateway) if namespace == "." else namespace
            if not slash or of in ("*", space(service)):
                found += [mine for mine in service["spec"].get("hosts") or [] if overlap(mine, host)]
    return list(dict.fromkeys(found))


def exported(service: Obj, namespace: str) -> bool:
    """Whether a VirtualService can be seen from a namespace."""
    to = service["spec"].get("exportTo") or ["*"]
    return "*" in to or namespace in to or ("." in to and namespace == space(service))


def no_route(snapshot: Snapshot) -> Iterator[Finding]:
    """VirtualServices that never reach a gateway's routes."""
    for service in snapshot.all("VirtualService"):
        for name, gateway in bound(snapshot, service):
            if finding := _unbound(snapshot, service, name, gateway):
                yield finding


def unrouted(snapshot: Snapshot) -> Iterator[Finding]:
    """Gateways without any VirtualService; not while one was meant for a Gateway and missed it."""
    if any(no_route(snapshot)):
        return
    routed = [
        name_of(gateway)
        for service in snapshot.all("VirtualService")
        for _, gateway in bound(snapshot, service)
        if gateway
    ]
    for gateway in snapshot.all("Gateway"):
        servers = [server for _, server in gateway_servers(gateway)]
        modes = {(server.get("tls") or {}).get("mode") for server in servers}
        if name_of(gateway) in routed or modes <= {"PASSTHROUGH", "AUTO_PASSTHROUGH"}:
            continue
        hosts = sorted({host for server in servers for host in server.get("hosts") or []})
        yield Finding(
            3,
            ERROR,
            f"no VirtualService is bound to Gateway {name_of(gateway)}",
            f"it publishes {', '.join(hosts)}; spec.gateways of no VirtualService names it",
            NO_ROUTE,
            f"kubectl get virtualservices -A   # one must name {name_of(gateway)}",
        )


def _unbound(snapshot: Snapshot, service: Obj, name: str, gateway: Obj | None) -> Finding | None:
    edit = f"kubectl edit virtualservice {service['metadata']['name']} -n {space(service)}"
    this = f"VirtualService {name_of(service)}"
    if gateway is None:
        there = ", ".join(name_of(each) for each in snapshot.all("Gateway")) or "none"
        wanted = name if "/" in name else f"{space(service)}/{name}"
        return Finding(
            3,
            ERROR,
            f"{this} names a Gateway that does not exist: {name}",
            f"there is no Gateway {wanted}; there are: {there}",
            f"its routes are put on no gateway: {NO_ROUTE}",
            edit,
            "IST0101",
        )
    if not published(gateway, service):
        hosts = {host: 1 for _, server in gateway_servers(gateway) for host in server.get("hosts") or []}
        mine = ", ".join(service["spec"].get("hosts") or [])
        return Finding(
            3,
            ERROR,
            f"{this} has no host that Gateway {name_of(gateway)} publishes",
            f"its hosts: {mine}; the Gateway's: {', '.join(hosts)}",
            f"host and SNI must be in both objects: {NO_ROUTE}",
            edit,
            "IST0132",
        )
    for namespace in {space(pod) for pod in snapshot.gateway_pods(gateway)}:
        if not exported(service, namespace):
            return Finding(
                3,
                ERROR,
                f"{this} is not exported to {namespace}, where the gateway's pods run",
                f"exportTo: {', '.join(service['spec']['exportTo'])}",
                f"proxies of that namespace do not see it: {NO_ROUTE}",
                edit,
            )
    return None


def asked_request(snapshot: Snapshot) -> Iterator[Finding]:
    """What becomes of the request that was asked about: which host, and which match, takes it."""
    if not snapshot.url:
        return
    parts = urlsplit(snapshot.url)
    host, path = parts.hostname or "", parts.path or "/"
    serving = [
        gateway
        for gateway in snapshot.all("Gateway")
        for _, server in gateway_servers(gateway)
        if any(overlap(host, each.rpartition("/")[2]) for each in server.get("hosts") or [])
    ]
    if not serving:
        cause = "with HTTPS the connection is closed in the handshake, with HTTP the answer is 404"
        finding = f"no Gateway publishes the host {host}"
        yield Finding(
            3, ERROR, finding, f"asked for {snapshot.url}", cause, "kubectl get gateways -A -o yaml"
        )
        return
    services = [
        each
        for each in snapshot.all("VirtualService")
        if any(overlap(host, mine) for mine in each["spec"].get("hosts") or [])
        and any(gateway in serving for _, gateway in bound(snapshot, each))
    ]
    if services and not any(
        takes(rule, path) for each in services for rule in each["spec"].get("http") or []
    ):
        names = ", ".join(name_of(each) for each in services)
        matches = [_shown(rule) for each in services for rule in each["spec"].get("http") or []]
        first = services[0]
        yield Finding(
            3,
            ERROR,
            f"no route of VirtualService {names} takes {path}",
            f"its matches: {', '.join(matches) or 'none'}",
            NO_ROUTE,
            f"kubectl edit virtualservice {first['metadata']['name']} -n {space(first)}",
        )


def takes(rule: Obj, path: str, method: str = "GET") -> bool:
    """Whether a plain request without extra headers or query is taken by a rule of a VirtualService."""
    matches = rule.get("match") or [{}]
    return any(
        _string(match.get("uri"), path, bool(match.get("ignoreUriCase")))
        and _string(match.get("method"), method)
        and not match.get("headers")
        and not match.get("queryParams")
        for match in matches
    )


def _string(wanted: Obj | None, value: str, fold: bool = False) -> bool:
    if not wanted:
        return True
    if "regex" in wanted:
        try:
            return re.fullmatch(wanted["regex"], value) is not None
        except re.error:
            return False
    kind = "exact" if "exact" in wanted else "prefix"
    text = wanted.get(kind, "")
    value, text = (value.lower(), text.lower()) if fold else (value, text)
    return value == text if kind == "exact" else value.startswith(text)


def _shown(rule: Obj) -> str:
    uris = [
        " ".join(f"{kind} {text}" for kind, text in (match.get("uri") or {"any": "path"}).items())
        for match in rule.get("match") or [{}]
    ]
    return ", ".join(uris)
