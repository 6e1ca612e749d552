"""The Deployment's decisions, step by step, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.lab.controllers import rollout

Obj = dict[str, Any]


def deployment(replicas: int = 3, image: str = "till:2", **spec: Any) -> Obj:
    template = {
        "metadata": {"labels": {"app": "till"}},
        "spec": {"containers": [{"name": "till", "image": image}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "till",
            "namespace": "web",
            "uid": "d",
            "generation": 1,
            "annotations": {"note": "x"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "till"}},
            "template": template,
            **spec,
        },
    }


def replica_set(owner: Obj, image: str, size: int, available: int, revision: int, **notes: str) -> Obj:
    made = rollout.decide(
        {
            **owner,
            "spec": {
                **owner["spec"],
                "paused": False,
                "template": deployment(image=image)["spec"]["template"],
            },
        },
        [],
        False,
    ).create
    assert made is not None
    made["metadata"] |= {
        "uid": f"rs-{revision}",
        "creationTimestamp": f"2026-11-23T03:00:0{revision}Z",
        "generation": 1,
    }
    made["metadata"]["annotations"] |= {rollout.REVISION: str(revision), **notes}
    made["spec"]["replicas"] = size
    made["status"] = {"replicas": size, "availableReplicas": available, "observedGeneration": 1}
    return made


def sizes(step: rollout.Step) -> list[tuple[str, int]]:
    return [(each["metadata"]["uid"], size) for each, size in step.scale]


def test_the_first_step_creates_a_replica_set_with_hash_revision_and_owner() -> None:
    step = rollout.decide(deployment(), [], False)
    assert step.create is not None
    name = step.create["metadata"]["name"]
    code = name.removeprefix("till-")
    assert step.create["metadata"]["labels"] == {"app": "till", "pod-template-hash": code}
    assert step.create["spec"]["selector"]["matchLabels"] == {"app": "till", "pod-template-hash": code}
    assert step.create["metadata"]["annotations"] == {
        "note": "x",
        rollout.REVISION: "1",
        rollout.DESIRED: "3",
        rollout.MAXIMUM: "4",
    }
    assert step.create["metadata"]["ownerReferences"][0]["uid"] == "d"
    assert step.events == [("ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 3")]
    assert set(code) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_rolling_update_stays_between_its_limits() -> None:
    owner = deployment()
    old = replica_set(owner, "till:1", 3, 3, 1)
    first = rollout.decide(owner, [old], False)
    assert first.create is not None
    assert first.create["spec"]["replicas"] == 1  # 25 % of 3, rounded up
    new = replica_set(owner, "till:2", 1, 0, 2)
    assert (
        sizes(rollout.decide(owner, [old, new], False)) == []
    )  # nothing may go before the new one is available
    new["status"]["availableReplicas"] = 1
    assert sizes(rollout.decide(owner, [old, new], False)) == [("rs-1", 2)]


def test_unhealthy_old_pods_go_first() -> None:
    owner = deployment(replicas=4)
    old = replica_set(owner, "till:1", 4, 1, 1)
    new = replica_set(owner, "till:2", 1, 0, 2)
    assert sizes(rollout.decide(owner, [old, new], False)) == [("rs-1", 3)]


def test_recreate_waits_for_the_old_pods() -> None:
    owner = deployment(strategy={"type": "Recreate"})
    old = replica_set(owner, "till:1", 3, 3, 1)
    assert sizes(rollout.decide(owner, [old], True)) == [("rs-1", 0)]
    old["spec"]["replicas"] = 0
    waiting = rollout.decide(owner, [old], True)
    assert waiting.create is None
    assert waiting.scale == []
    assert rollout.decide(owner, [old], False).create is not None


def test_an_undo_gives_the_old_replica_set_the_highest_revision() -> None:
    owner = deployment(image="till:1")
    first = replica_set(owner, "till:1", 0, 0, 1)
    second = replica_set(owner, "till:2", 3, 3, 2)
    step = rollout.decide(owner, [first, second], False)
    assert step.revision == "3"
    assert step.annotate[first["metadata"]["name"]][rollout.REVISION] == "3"
    assert step.annotate[first["metadata"]["name"]][rollout.HISTORY] == "1"


def test_a_paused_deployment_scales_but_rolls_nothing_out() -> None:
    owner = deployment(replicas=5, paused=True)
    old = replica_set(owner, "till:1", 3, 3, 1)
    step = rollout.decide(owner, [old], False)
    assert step.create is None
    assert sizes(step) == [("rs-1", 5)]


def test_scaling_in_the_middle_of_a_rollout_is_proportional() -> None:
    owner = deployment(replicas=10)
    old = replica_set(owner, "till:1", 8, 8, 1)
    new = replica_set(owner, "till:2", 5, 2, 2)
    owner["spec"]["replicas"] = 20
    step = rollout.decide(owner, [old, new], False)
    assert sizes(step) == [("rs-1", 15), ("rs-2", 10)]  # 25 in all with the surge, 8 : 5


def test_history_beyond_the_limit_goes_when_the_rollout_is_complete() -> None:
    owner = deployment(revisionHistoryLimit=1)
    olds = [replica_set(owner, f"till:{n}", 0, 0, n) for n in (3, 4, 5)]
    new = replica_set(owner, "till:2", 3, 3, 6)
    step = rollout.decide(owner, [*olds, new], False)
    assert [each["metadata"]["uid"] for each in step.delete] == ["rs-3", "rs-4"]


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [("25%", "25%", (1, 0)), (0, 0, (0, 1)), (2, "50%", (2, 1)), ("0%", "0%", (0, 1))],
)
def test_limits(surge: int | str, unavailable: int | str, expected: tuple[int, int]) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    owner = deployment(strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert rollout.limits(owner) == expected
