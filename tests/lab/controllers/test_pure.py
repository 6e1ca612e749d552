"""The other controllers' decisions, without a cluster."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from meshlib.lab.controllers import budgets, endpoints, jobs, namespaces, progress, replicaset, rollout
from meshlib.lab.controllers.pods import worth
from meshlib.lab.controllers.selectors import matches
from meshlib.lab.kubelet.proxy import Address, wanted
from meshlib.lab.network import Subnet

Obj = dict[str, Any]
STAMP = "2026-11-23T03:00:00Z"
NOW_S = datetime.fromisoformat(STAMP).timestamp()


def pod(name: str, *, ready: bool = True, ports: dict[int, int] | None = None, **meta: Any) -> Obj:
    status = "True" if ready else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "web",
            "uid": f"uid-{name}",
            "creationTimestamp": STAMP,
            "labels": {"app": "till"},
            "annotations": {"lab.meshlib.dev/ports": json.dumps(ports or {})},
            **meta,
        },
        "spec": {
            "nodeName": "meshlib-lab",
            "containers": [{"name": "c", "image": "till", "ports": [{"name": "web", "containerPort": 81}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": f"127.7.1.{name[-1]}",
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": STAMP}],
        },
    }


def service(**spec: Any) -> Obj:
    ports = [{"port": 80, "targetPort": "web", "protocol": "TCP", "name": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "till", "namespace": "web", "uid": "s", "creationTimestamp": STAMP},
        "spec": {"selector": {"app": "till"}, "clusterIP": "127.7.128.9", "ports": ports, **spec},
    }


def test_slices_show_true_ports_readiness_and_leaving() -> None:
    members = [
        pod("p1", ports={81: 20081}),
        pod("p2", ready=False, ports={81: 20081}),
        pod("p3", ports={81: 20081}, deletionTimestamp=STAMP),
    ]
    (found,) = endpoints.slices(service(), members, None)
    assert found["ports"] == [{"name": "http", "protocol": "TCP", "port": 20081}]
    assert [(each["addresses"], each["conditions"]) for each in found["endpoints"]] == [
        (["127.7.1.1"], {"ready": True, "serving": True, "terminating": False}),
        (["127.7.1.2"], {"ready": False, "serving": False, "terminating": False}),
        (["127.7.1.3"], {"ready": False, "serving": True, "terminating": True}),
    ]


def test_pods_with_other_true_ports_get_a_slice_of_their_own() -> None:
    found = endpoints.slices(service(), [pod("p1", ports={81: 81}), pod("p2", ports={81: 4000})], None)
    assert [each["ports"][0]["port"] for each in found] == [81, 4000]


def test_a_service_without_pods_has_one_empty_slice() -> None:
    (found,) = endpoints.slices(service(clusterIP="None"), [], None)
    assert (found["endpoints"], found["ports"]) == (None, None)
    assert "service.kubernetes.io/headless" in found["metadata"]["labels"]


def test_subsets_part_ready_from_not_ready() -> None:
    (found,) = endpoints.subsets(service(), [pod("p1"), pod("p2", ready=False)])
    assert [each["ip"] for each in found["addresses"]] == ["127.7.1.1"]
    assert [each["ip"] for each in found["notReadyAddresses"]] == ["127.7.1.2"]


def test_the_proxy_forwards_to_ready_endpoints_and_leaves_gateways_alone() -> None:
    each = service(type="NodePort")
    each["spec"]["ports"][0]["nodePort"] = 30100
    members = [pod("p1"), pod("p2", ready=False)]
    slices = endpoints.slices(each, members, None)
    for number, made in enumerate(slices):
        made["metadata"] |= {"name": f"till-{number}", "namespace": "web"}
    routes = wanted([each], slices, lambda _: False, Subnet(7))
    assert set(routes) == {Address("127.7.128.9", 80), Address("127.7.0.1", 30100)}
    assert {route.backends for route in routes.values()} == {(Address("127.7.1.1", 81),)}
    assert wanted([each], slices, lambda _: True, Subnet(7)) == {}
    assert wanted([each], [], lambda _: False, Subnet(7)) == {}


def owner(replicas: int, **spec: Any) -> Obj:
    template = {"metadata": {"labels": {"app": "till"}}, "spec": {"containers": []}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "till", "namespace": "web", "uid": "r", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "till"}},
            "template": template,
            **spec,
        },
    }


OWNED = {"ownerReferences": [{"uid": "r", "kind": "ReplicaSet", "name": "till", "controller": True}]}


def test_a_replica_set_makes_adopts_releases_and_deletes() -> None:
    stray = pod("p4", labels={"app": "other"}, **OWNED)
    decided = replicaset.plan(owner(3), [pod("p1", **OWNED), pod("p2"), stray])
    assert decided.create == 1
    assert [each["metadata"]["name"] for each in decided.adopt] == ["p2"]
    assert [each["metadata"]["name"] for each in decided.release] == ["p4"]
    fewer = replicaset.plan(owner(1), [pod("p1", **OWNED), pod("p2", ready=False, **OWNED)])
    assert [each["metadata"]["name"] for each in fewer.delete] == ["p2"]


def test_what_is_deleted_first() -> None:
    unbound = pod("p1")
    del unbound["spec"]["nodeName"]
    younger = pod("p2", creationTimestamp="2026-11-23T04:00:00Z")
    order = sorted([pod("p3"), younger, pod("p4", ready=False), unbound], key=worth)
    assert [each["metadata"]["name"] for each in order] == ["p1", "p4", "p2", "p3"]


def test_available_means_ready_for_long_enough() -> None:
    slow = owner(1, minReadySeconds=30)
    early, again_s = replicaset.status(slow, [pod("p1", **OWNED)], None, NOW_S + 10)
    assert early == {"replicas": 1, "fullyLabeledReplicas": 1, "readyReplicas": 1, "observedGeneration": 1}
    assert again_s == 20
    late, again_s = replicaset.status(slow, [pod("p1", **OWNED)], None, NOW_S + 30)
    assert late["availableReplicas"] == 1
    assert again_s is None


def deployment(**spec: Any) -> Obj:
    each = owner(2, progressDeadlineSeconds=60, **spec)
    each["kind"] = "Deployment"
    return each


def conditions(status: Obj) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_a_rollout_that_does_not_move_misses_its_deadline() -> None:
    each = deployment()
    made = rollout.decide(each, [], False)
    assert made.create is not None
    made.create["metadata"] |= {"uid": "n", "creationTimestamp": STAMP}
    first, again_s = progress.status(each, [made.create], made, NOW_S)
    assert conditions(first)["Progressing"] == ("True", "NewReplicaSetCreated")
    assert conditions(first)["Available"] == ("False", "MinimumReplicasUnavailable")
    assert again_s is not None
    late, _ = progress.status({**each, "status": first}, [made.create], rollout.Step(), NOW_S + 61)
    assert conditions(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    made.create["status"] = {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    done, _ = progress.status({**each, "status": late}, [made.create], rollout.Step(), NOW_S + 70)
    assert conditions(done) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert done["conditions"][1]["message"] == (
        f'ReplicaSet "{made.create["metadata"]["name"]}" has successfully progressed.'
    )


def test_pausing_is_told() -> None:
    status, _ = progress.status(deployment(paused=True), [], rollout.Step(), NOW_S)
    assert conditions(status)["Progressing"] == ("Unknown", "DeploymentPaused")


def job(**spec: Any) -> Obj:
    template = {"spec": {"restartPolicy": "Never", "containers": []}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "web", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 1, "template": template, **spec},
    }


def ended(name: str, phase: str) -> Obj:
    each = pod(name)
    terminated = {"terminated": {"finishedAt": STAMP}}
    each["status"] |= {"phase": phase, "containerStatuses": [{"state": terminated, "restartCount": 0}]}
    return each


@pytest.mark.parametrize(
    ("owned", "create", "end"),
    [
        ([], 2, None),
        ([ended("p1", "Succeeded"), ended("p2", "Succeeded")], 1, None),
        ([ended(f"p{n}", "Succeeded") for n in (1, 2, 3)], 0, "Complete"),
        ([ended("p1", "Failed"), ended("p2", "Failed")], 0, "Failed"),
    ],
)
def test_jobs(owned: list[Obj], create: int, end: str | None) -> None:
    decided = jobs.plan(job(), owned, NOW_S + 3600)
    assert (decided.create, decided.end and decided.end[0]) == (create, end)


def test_a_failed_pod_of_a_job_is_replaced_only_after_a_pause() -> None:
    soon = jobs.plan(job(), [ended("p1", "Failed")], NOW_S + 4)
    assert (soon.create, soon.again_s) == (0, 6)
    assert jobs.plan(job(), [ended("p1", "Failed")], NOW_S + 11).create == 2


def with_index(name: str, index: int, phase: str) -> Obj:
    each = ended(name, phase)
    each["metadata"]["annotations"] = {jobs.INDEX: str(index)}
    return each


def test_an_indexed_job_makes_the_lowest_indexes_that_are_missing() -> None:
    mine = job(completionMode="Indexed", completions=4, backoffLimit=6)
    assert jobs.plan(mine, [], NOW_S + 3600).indexes == (0, 1)
    owned = [with_index("p0", 0, "Succeeded"), with_index("p1", 1, "Failed"), with_index("p2", 2, "Running")]
    later = jobs.plan(mine, owned, NOW_S + 3600)
    assert (later.indexes, later.create, later.end) == ((1,), 1, None)
    twice = [with_index(f"p{n}", 0, "Succeeded") for n in range(4)]
    assert jobs.plan(mine, twice, NOW_S + 3600).end is None
    done = [with_index(f"p{n}", n, "Succeeded") for n in range(4)]
    decided = jobs.plan(mine, done, NOW_S + 3600)
    assert decided.end is not None
    assert jobs.status(mine, done[1:], None, NOW_S)["completedIndexes"] == "1-3"
    assert jobs.intervals([4, 0, 2, 3, 9]) == "0,2-4,9"


def test_a_pod_knows_its_index_by_label_annotation_name_and_variable() -> None:
    mine = job(completionMode="Indexed", completions=4)
    mine["spec"]["template"]["spec"]["containers"] = [{"name": "c"}]
    made = jobs.new_pod(mine, 3)
    assert (made["metadata"]["generateName"], made["spec"]["hostname"]) == ("j-3-", "j-3")
    assert made["metadata"]["labels"][jobs.INDEX] == made["metadata"]["annotations"][jobs.INDEX] == "3"
    [variable] = made["spec"]["containers"][0]["env"]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == path
    assert "env" not in mine["spec"]["template"]["spec"]["containers"][0]


def test_budgets() -> None:
    budget = {"metadata": {"generation": 1}, "spec": {"minAvailable": "50%"}}
    status = budgets.status(budget, [pod("p1"), pod("p2"), pod("p3", ready=False)], 3, NOW_S)
    assert (status["currentHealthy"], status["desiredHealthy"], status["disruptionsAllowed"]) == (2, 2, 0)
    assert status["conditions"][0]["reason"] == "InsufficientPods"
    budget["spec"] = {"maxUnavailable": 1}
    assert budgets.status(budget, [pod(f"p{n}") for n in (1, 2, 3)], 3, NOW_S)["disruptionsAllowed"] == 1


def test_a_namespace_says_what_holds_it() -> None:
    found = namespaces.conditions([], {"configmaps.": 1}, {"example.test/hold": 1}, NOW_S)
    told = {each["type"]: (each["status"], each["message"]) for each in found}
    assert told["NamespaceContentRemaining"] == (
        "True",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert told["NamespaceFinalizersRemaining"] == (
        "True",
        "Some content in the namespace has finalizers remaining: example.test/hold in 1 resource instances",
    )
    assert told["NamespaceDeletionContentFailure"][0] == "False"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "a", "operator": "In", "values": ["1"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "b", "operator": "DoesNotExist"}, True),
    ],
)
def test_selectors(expression: Obj, expected: bool) -> None:
    assert matches({"matchExpressions": [expression]}, {"a": "1"}) is expected
