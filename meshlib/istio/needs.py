"""Pure: every right that the notebooks use, once.

Preflight asks for them (SelfSubjectAccessReview), `meshlib schedule cronjob` prints Roles from them, and a
test compares them with what a run really asked of the API server (its `requests/*.jsonl`).

Places: `-` the cluster, `app` the workload's namespace, `istio` that of the control plane and the gateways.
The word `apply` stands for get, create and patch: server-side apply of an object that may not be there yet is
authorized as both create and patch.  An exec or a port-forward over a WebSocket is authorized as get and,
since Kubernetes 1.35, as create too (gate AuthorizePodWebsocketUpgradeCreatePermission).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from meshlib.kube.apply import CLEANUP, CLUSTER_SCOPED
from meshlib.kube.requests import REVIEWS
from meshlib.parameters import Config

Right = tuple[str, str, str]

APPLY = ("get", "create", "patch")
ADMISSION, RBAC = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
LOOK = ("00", "90")  # the steps that list everything with our label
OBSERVERS = ("00", "15")  # the steps that a read-only run is made of
CLEAN = "90"
# A load Job (`meshlib load --job N`), verbs by resource, all in the namespace where it runs
LOAD_JOB = {
    "jobs.batch": ("create", "get", "delete"),
    "configmaps": ("create",),
    "pods": ("list", "patch"),
    "pods/log": ("get",),
}
LOAD_JOB_CERTIFICATE = {"secrets": ("create",)}  # with a client certificate too

TABLE = """
00 -     namespaces                                   get list
00 -     nodes                                        list
00 -     mutatingwebhookconfigurations.{admission}    list
00 -     validatingwebhookconfigurations.{admission}  list
00 -     gateways.networking.istio.io                 list
00 istio endpoints                                    get
00 istio daemonsets.apps                              get
00 istio deployments.apps                             list
00 istio services                                     list
00 app   deployments.apps                             get
00 app   services                                     get
00 app   gateways.networking.istio.io                 get
00 app   virtualservices.networking.istio.io          get
00 app   pods                                         list
01 -     namespaces                                   get
01 -     nodes                                        list
01 -     mutatingwebhookconfigurations.{admission}    list
01 -     validatingwebhookconfigurations.{admission}  list
01 istio deployments.apps                             get list
01 istio services                                     list
01 istio pods                                         list
01 istio replicasets.apps                             list
01 istio roles.{rbac}                                 list
01 istio configmaps                                   get
02 -     namespaces                                   apply
02 -     mutatingwebhookconfigurations.{admission}    list
02 app   pods                                         create list
03 app   configmaps                                   apply
03 istio secrets                                      apply list
04 app   configmaps                                   apply
04 app   deployments.apps                             apply
04 app   serviceaccounts                              apply
04 app   events                                       list
04 app   pods                                         list
04 app   pods/log                                     get
04 app   pods/portforward                             get create
05 -     nodes                                        list
05 app   configmaps                                   get
05 app   services                                     apply list
05 app   gateways.networking.istio.io                 apply
05 app   virtualservices.networking.istio.io          apply
05 istio secrets                                      get
05 istio services                                     get
06 -     nodes                                        list
06 app   configmaps                                   get
06 istio configmaps                                   apply
06 istio deployments.apps                             apply list
06 istio services                                     apply list
06 istio pods                                         list
06 istio pods/portforward                             get create
06 istio replicasets.apps                             list
06 istio services/proxy                               get
06 istio telemetries.telemetry.istio.io               list
07 -     nodes                                        list
07 app   configmaps                                   get
07 istio configmaps                                   get patch
07 istio pods                                         list
07 istio pods/portforward                             get create
07 istio services                                     get
07 istio services/proxy                               get
07 istio telemetries.telemetry.istio.io               apply delete
08 -     nodes                                        list
08 app   configmaps                                   get
08 app   virtualservices.networking.istio.io          apply
08 istio pods                                         list
08 istio pods/log                                     get
08 istio pods/portforward                             get create
08 istio services                                     get
08 istio services/proxy                               get
09 -     nodes                                        list
09 app   configmaps                                   get
09 app   endpointslices.discovery.k8s.io              list
09 istio pods                                         list
09 istio pods/portforward                             get create
09 istio services                                     get
09 istio services/proxy                               get
10 -     nodes                                        list
10 app   configmaps                                   get list
10 app   authorizationpolicies.security.istio.io      list
10 app   requestauthentications.security.istio.io     list
10 app   peerauthentications.security.istio.io        list
10 app   destinationrules.networking.istio.io         list
10 app   deployments.apps                             list
10 app   services                                     list
10 app   serviceaccounts                              list
10 app   gateways.networking.istio.io                 apply list delete
10 app   virtualservices.networking.istio.io          apply list delete
10 istio secrets                                      apply list delete
10 istio services                                     get
11 -     nodes                                        list
11 app   authorizationpolicies.security.istio.io      apply list delete
11 app   requestauthentications.security.istio.io     apply list delete
11 app   peerauthentications.security.istio.io        apply list delete
11 app   gateways.networking.istio.io                 apply list delete
11 app   virtualservices.networking.istio.io          apply list delete
11 app   deployments.apps                             apply list delete
11 app   services                                     apply list delete
11 app   configmaps                                   apply list delete
11 app   serviceaccounts                              apply list delete
11 app   destinationrules.networking.istio.io         list
11 app   pods                                         list
11 app   pods/exec                                    get create
11 istio configmaps                                   get
11 istio secrets                                      list
11 istio services                                     get
12 -     nodes                                        list
12 app   authorizationpolicies.security.istio.io      list
12 app   configmaps                                   get list
12 app   deployments.apps                             apply list delete
12 app   destinationrules.networking.istio.io         apply list delete
12 app   gateways.networking.istio.io                 list
12 app   peerauthentications.security.istio.io        list
12 app   pods                                         list
12 app   pods/log                                     get
12 app   requestauthentications.security.istio.io     list
12 app   serviceaccounts                              list
12 app   services                                     apply list delete
12 app   virtualservices.networking.istio.io          apply list delete
12 istio configmaps                                   get
12 istio secrets                                      list
12 istio services                                     get
13 -     nodes                                        list
13 app   authorizationpolicies.security.istio.io      list
13 app   configmaps                                   get list
13 app   deployments.apps                             apply list delete
13 app   destinationrules.networking.istio.io         apply list delete
13 app   gateways.networking.istio.io                 apply list delete
13 app   peerauthentications.security.istio.io        list
13 app   pods                                         list
13 app   requestauthentications.security.istio.io     list
13 app   serviceaccounts                              list
13 app   services                                     apply list delete
13 app   virtualservices.networking.istio.io          apply list delete
13 istio pods                                         list
13 istio pods/portforward                             get create
13 istio secrets                                      list
13 istio services                                     get
13 istio services/proxy                               get
14 -     authorizationpolicies.security.istio.io      list
14 -     destinationrules.networking.istio.io         list
14 -     endpointslices.discovery.k8s.io              list
14 -     gateways.networking.istio.io                 list
14 -     mutatingwebhookconfigurations.{admission}    list
14 -     namespaces                                   apply list
14 -     nodes                                        list
14 -     peerauthentications.security.istio.io        list
14 -     pods                                         list
14 -     requestauthentications.security.istio.io     list
14 -     serviceentries.networking.istio.io           list
14 -     services                                     list
14 -     telemetries.telemetry.istio.io               list
14 -     virtualservices.networking.istio.io          list
14 app   authorizationpolicies.security.istio.io      list create delete
14 app   configmaps                                   get list
14 app   deployments.apps                             get
14 app   gateways.networking.istio.io                 apply list
14 app   pods                                         list delete
14 app   secrets                                      get list
14 app   services                                     apply list
14 app   telemetries.telemetry.istio.io               list
14 app   virtualservices.networking.istio.io          apply list
14 istio authorizationpolicies.security.istio.io      list
14 istio configmaps                                   apply list
14 istio gateways.networking.istio.io                 list
14 istio pods                                         list
14 istio pods/portforward                             get create
14 istio secrets                                      get list create delete
14 istio services                                     get list create delete
14 istio telemetries.telemetry.istio.io               apply list
14 istio virtualservices.networking.istio.io          list
15 -     authorizationpolicies.security.istio.io      list
15 -     destinationrules.networking.istio.io         list
15 -     endpointslices.discovery.k8s.io              list
15 -     gateways.networking.istio.io                 list
15 -     mutatingwebhookconfigurations.{admission}    list
15 -     namespaces                                   list
15 -     nodes                                        list
15 -     peerauthentications.security.istio.io        list
15 -     pods                                         list
15 -     requestauthentications.security.istio.io     list
15 -     serviceentries.networking.istio.io           list
15 -     services                                     list
15 -     telemetries.telemetry.istio.io               list
15 -     virtualservices.networking.istio.io          list
15 app   configmaps                                   get
15 app   gateways.networking.istio.io                 list
15 app   pods                                         list
15 app   services                                     list
15 app   virtualservices.networking.istio.io          list
15 istio configmaps                                   list
15 istio pods                                         list
15 istio pods/portforward                             get create
15 istio secrets                                      get
15 istio services                                     get
15 istio services/proxy                               get
15 istio telemetries.telemetry.istio.io               list
90 -     namespaces                                   list delete
90 -     mutatingwebhookconfigurations.{admission}    list
90 -     validatingwebhookconfigurations.{admission}  list
90 istio configmaps                                   patch
"""
NOT_BY_READERS = ("secrets", "pods/exec", "pods/portforward")
# What installing by manifest makes besides; istioctl and helm ask for more, see `BY_TOOL`.
BY_MANIFEST = """
01 -     namespaces                                   apply
01 -     clusterroles.{rbac}                          apply
01 -     clusterrolebindings.{rbac}                   apply
01 -     mutatingwebhookconfigurations.{admission}    apply
01 -     validatingwebhookconfigurations.{admission}  apply
01 istio configmaps                                   apply
01 istio deployments.apps                             apply
01 istio poddisruptionbudgets.policy                  apply
01 istio rolebindings.{rbac}                          apply
01 istio roles.{rbac}                                 apply
01 istio serviceaccounts                              apply
01 istio services                                     apply
90 -     configmaps                                   list delete
90 -     deployments.apps                             list
90 -     services                                     get
"""
# istioctl and helm make roles that give rights to others: only who has every right may do that.
BY_TOOL = """
01 -     *.*                                          *
90 -     *.*                                          *
"""
SNAPSHOT = (
    "deployments.apps", "pods", "services", "configmaps", "secrets", "gateways.networking.istio.io",
    "virtualservices.networking.istio.io", "destinationrules.networking.istio.io",
    "peerauthentications.security.istio.io", "authorizationpolicies.security.istio.io",
    "telemetries.telemetry.istio.io",
)  # fmt: skip
"""What the runner lists in both namespaces before and after each step."""


def rows(method: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(step, place, resource, verbs) of the table for an install method, verbs as written."""
    text = TABLE + {"manifest": BY_MANIFEST, "istioctl": BY_TOOL, "helm": BY_TOOL}.get(method, "")
    found = []
    for line in filter(None, text.format(admission=ADMISSION, rbac=RBAC).splitlines()):
        step, place, resource, *verbs = line.split()
        found.append((step, place, resource, tuple(verbs)))
    return found


def steps_of(method: str) -> list[str]:
    """The steps that the table knows, by number."""
    return sorted({step for step, *_ in rows(method)})


def of_steps(steps: Iterable[str], method: str) -> Iterator[tuple[str, str, str]]:
    """(verb, resource, place) that these steps use, and what cleaning up after them takes."""
    chosen = set(steps)
    for step, place, resource, verbs in rows(method):
        if step not in chosen:
            continue
        for word in verbs:
            for verb in APPLY if word == "apply" else (word,):
                yield verb, resource, place
    for step in chosen & set(LOOK):
        for resource in CLEANUP:
            for place in ("-",) if resource in CLUSTER_SCOPED else ("app", "istio"):
                yield "list", resource, place
        if step == CLEAN:
            for _, place, resource, verbs in rows(method):
                if "apply" in verbs:
                    yield "get", resource, place
                    yield "delete", resource, place
    for resource in SNAPSHOT:
        for place in ("app", "istio"):
            yield "list", resource, place


def rights(cfg: Config, steps: Sequence[str] = (), method: str = "", *, kept: bool = False) -> list[Right]:
    """(verb, resource, namespace or "") for the steps (none: all) of a run, each once, in order.

    `method` is how Istio gets in (`install.choose`); empty means that it is there.  `kept`: the workload's
    namespace is there and stays, so that none is made or deleted.  A read-only run asks for
    nothing but get and list, and never for Secrets or a way into a pod.
    """
    names = {"-": "", "app": cfg.namespace, "istio": cfg.istio_namespace}
    chosen = [each for each in steps_of(method) if not steps or each in steps]
    found = {(verb, resource, names[place]) for verb, resource, place in of_steps(chosen, method)}
    if kept:
        found -= {("create", "namespaces", ""), ("delete", "namespaces", "")}
    if cfg.read_only:
        found = {each for each in found if each[0] in ("get", "list") and each[1] not in NOT_BY_READERS}
    return sorted(found, key=lambda each: (each[2], each[1], each[0]))


def optional(right: Right, cfg: Config) -> bool:
    """Whether a run does without: observing, it says what it was not shown behind the API server's proxy."""
    return cfg.read_only and right[1].endswith("/proxy")


def roles(found: Iterable[Right]) -> dict[str, list[dict[str, Any]]]:
    """Namespace ("" for the cluster) → rules of a Role or ClusterRole that allow exactly these rights."""
    by_place: dict[str, dict[tuple[str, str], set[str]]] = {}
    reviews = [("create", review, "") for review in REVIEWS[:1] + REVIEWS[2:]]
    for verb, resource, namespace in [*found, *reviews]:
        whole, _, part = resource.partition("/")
        plural, _, group = whole.partition(".")
        name = f"{plural}/{part}" if part else plural
        by_place.setdefault(namespace, {}).setdefault((group, name), set()).add(verb)
    result: dict[str, list[dict[str, Any]]] = {}
    for namespace, kinds in sorted(by_place.items()):
        merged: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (group, name), verbs in sorted(kinds.items()):
            merged.setdefault((group, tuple(sorted(verbs))), []).append(name)
        result[namespace] = [
            {"apiGroups": [group], "resources": names, "verbs": list(verbs)}
            for (group, verbs), names in merged.items()
        ]
    return result
