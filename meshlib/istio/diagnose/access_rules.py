"""Mode 10: requests that authorization turns away, decided as Envoy would decide them.

A sample request is made for every path that a gateway routes, and judged by the policies of the gateway
and of the workload behind it.  What depends on more than the sample (a token, an address, a header) is left
undecided, and what is undecided is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from meshlib.istio.diagnose.model import (
    ERROR,
    WARNING,
    Finding,
    Obj,
    Snapshot,
    has_proxy,
    labels,
    match_labels,
    name_of,
    selects,
    space,
)
from meshlib.istio.diagnose.route_rules import bound
from meshlib.istio.diagnose.upstream_rules import client_tls, destination_rule, full_name, service_of

Truth = bool | None  # None: it depends on what the sample does not say
DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Sample:
    """A GET without a token; `principal` is None where the caller has no identity, `path` where it is
    rewritten."""

    host: str
    path: str | None
    principal: str | None
    namespace: str | None

    @property
    def words(self) -> str:
        caller = f"from {self.principal}" if self.principal else "from outside, without an identity"
        return f"GET {self.path or 'a rewritten path'} for {self.host} {caller}"


def refused(snapshot: Snapshot) -> Iterator[Finding]:
    """Workloads where policies refuse what a gateway routes to them."""
    verdicts: dict[str, list[tuple[Sample, str, Obj | None]]] = {}
    places: dict[str, Obj] = {}
    for pod, sample in samples(snapshot):
        verdict, policy = judge(snapshot, pod, sample)
        places[_place(pod)] = pod
        verdicts.setdefault(_place(pod), []).append((sample, verdict, policy))
    for place, judged in verdicts.items():
        denied = [(sample, verdict, policy) for sample, verdict, policy in judged if policy is not None]
        if not denied:
            continue
        sample, verdict, culprit = denied[0]
        everything = len(denied) == len(judged)
        more = f"; {len(denied) - 1} more" if len(denied) > 1 else ""
        yield Finding(
            10,
            ERROR if everything else WARNING,
            f"{place} answers 403 to {'every' if everything else 'some'} request that the gateway routes",
            f"{sample.words}: {verdict}{more}",
            "once an ALLOW policy holds for a workload, what no rule allows is denied (RBAC: access denied)",
            f"kubectl edit authorizationpolicy {culprit['metadata']['name']} -n {space(culprit)}",
        )


def _place(pod: Obj) -> str:
    name = labels(pod).get("app") or pod["metadata"]["name"]
    return f"workload {space(pod)}/{name}"


def samples(snapshot: Snapshot) -> Iterator[tuple[Obj, Sample]]:
    """(pod, request): each routed path once at the gateway and once at each kind of workload behind it."""
    for service in snapshot.all("VirtualService"):
        gateways = [gateway for _, gateway in bound(snapshot, service) if gateway]
        proxies = [pod for gateway in gateways for pod in snapshot.gateway_pods(gateway)[:1]]
        host = next((each for each in service["spec"].get("hosts") or [] if not each.startswith("*")), "")
        for rule in service["spec"].get("http") or []:
            paths = list(_paths(rule))
            for proxy in proxies:
                yield from ((proxy, Sample(host, path, None, None)) for path in paths)
                if rule.get("route"):
                    yield from _behind(snapshot, service, rule, proxy, host, paths)


def _behind(
    snapshot: Snapshot, service: Obj, rule: Obj, proxy: Obj, host: str, paths: Iterable[str]
) -> Iterator[tuple[Obj, Sample]]:
    account = proxy["spec"].get("serviceAccountName", "default")
    principal = f"{DOMAIN}/ns/{space(proxy)}/sa/{account}"
    for route in rule["route"]:
        destination = route["destination"]
        name = full_name(destination["host"], space(service))
        target = service_of(snapshot, name)
        if target is None or not target["spec"].get("selector"):
            continue
        traffic = destination_rule(snapshot, name, space(target))
        port = (destination.get("port") or {}).get("number", 0)
        plain = traffic is not None and client_tls(traffic, port, destination.get("subset", "")) == "DISABLE"
        for pod in snapshot.pods(target["spec"]["selector"], space(target))[:1]:
            if has_proxy(pod):
                for path in paths:
                    yield (
                        pod,
                        Sample(
                            host,
                            None if "rewrite" in rule else path,
                            None if plain else principal,
                            None if plain else space(proxy),
                        ),
                    )


def _paths(rule: Obj) -> Iterator[str]:
    for match in rule.get("match") or [{}]:
        if match.get("method", {}).get("exact", "GET") == "GET":
            uri = match.get("uri") or {"prefix": "/"}
            if "exact" in uri or "prefix" in uri:
                yield uri.get("exact") or uri["prefix"]


def policies(snapshot: Snapshot, pod: Obj, action: str) -> list[Obj]:
    """The AuthorizationPolicies with an action that hold for a pod."""
    return [
        each
        for each in snapshot.all("AuthorizationPolicy")
        if space(each) in (snapshot.root, space(pod))
        and selects(match_labels(each), labels(pod))
        and (each.get("spec") or {}).get("action", "ALLOW") == action
        and not (each.get("spec") or {}).get("targetRefs")
    ]


def judge(snapshot: Snapshot, pod: Obj, sample: Sample) -> tuple[str, Obj | None]:
    """("", None) when a sample passes or it is not decided, else why not and by which policy."""
    for policy in policies(snapshot, pod, "DENY"):
        if _any(_rule(each, sample) for each in policy["spec"].get("rules") or []) is True:
            return f"denied by AuthorizationPolicy {name_of(policy)}", policy
    allowing = policies(snapshot, pod, "ALLOW")
    if not allowing:
        return "", None
    rules = [each for policy in allowing for each in (policy.get("spec") or {}).get("rules") or []]
    if _any(_rule(each, sample) for each in rules) is not False:
        return "", None
    names = ", ".join(map(name_of, allowing))
    if not rules:
        return f"AuthorizationPolicy {names} allows nothing", allowing[0]
    return f"no rule of AuthorizationPolicy {names} allows it", allowing[0]


def _rule(rule: Obj, sample: Sample) -> Truth:
    sources = [_source(each.get("source") or {}, sample) for each in rule.get("from") or []]
    operations = [_operation(each.get("operation") or {}, sample) for each in rule.get("to") or []]
    parts: list[Truth] = [_any(sources)] if sources else []
    parts += [_any(operations)] if operations else []
    parts += [None] if rule.get("when") else []
    return _every(parts)


def _source(source: Obj, sample: Sample) -> Truth:
    def fits(key: str, value: str | None, wrap: Callable[[str], str] = str) -> Iterator[Truth]:
        if values := source.get(key):
            yield value is not None and any(_like(wrap(each), value) for each in values)
        if values := source.get(f"not{key[0].upper()}{key[1:]}"):
            yield value is None or not any(_like(wrap(each), value) for each in values)

    parts: list[Truth] = [*fits("principals", sample.principal), *fits("namespaces", sample.namespace)]
    known = {"principals", "notPrincipals", "namespaces", "notNamespaces"}
    return _every([*parts, *([None] if set(source) - known else [])])


def _operation(operation: Obj, sample: Sample) -> Truth:
    parts: list[Truth] = []
    for key, value in (("paths", sample.path), ("methods", "GET"), ("hosts", sample.host)):
        for name, wanted in ((key, True), (f"not{key.capitalize()}", False)):
            if values := operation.get(name):
                templates = any("{" in each for each in values)
                unknown = value is None or not value or templates
                parts.append(None if unknown else any(_like(each, value or "") for each in values) is wanted)
    known = {"paths", "notPaths", "methods", "notMethods", "hosts", "notHosts"}
    return _every([*parts, *([None] if set(operation) - known else [])])


def _like(pattern: str, value: str) -> bool:
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def _any(parts: Iterable[Truth]) -> Truth:
    found = list(parts)
    return True if True in found else None if None in found else False


def _every(parts: Iterable[Truth]) -> Truth:
    found = list(parts)
    return False if False in found else None if None in found else True


def tokens_not_demanded(snapshot: Snapshot) -> Iterator[Finding]:
    """RequestAuthentications that let requests without a token pass."""
    for each in snapshot.all("RequestAuthentication"):
        wanted = match_labels(each)
        where = None if space(each) == snapshot.root else space(each)
        pods = snapshot.pods(wanted, where)
        demanding = [
            policy
            for pod in pods[:1]
            for action in ("ALLOW", "DENY")
            for policy in policies(snapshot, pod, action)
            if "equestPrincipals" in str(policy["spec"]) or "request.auth" in str(policy["spec"])
        ]
        if pods and not demanding:
            yield Finding(
                10,
                WARNING,
                f"RequestAuthentication {name_of(each)} lets requests without a token pass",
                "no AuthorizationPolicy of the same workloads asks for requestPrincipals",
                "it refuses wrong tokens (401); a missing one is not wrong",
                f"kubectl apply -n {space(each)} -f policy.yaml   # ALLOW from requestPrincipals ['*']",
            )
