"""When a rollout is complete, and why a pod is not ready."""

import pytest

from meshlib.kube import rollout

DONE = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        (DONE, None),
        ({**DONE, "observedGeneration": 1}, "the controller has not seen the change yet"),
        ({**DONE, "updatedReplicas": 1}, "1 of 2 replicas updated"),
        ({**DONE, "replicas": 3}, "1 old replicas are still there"),
        ({**DONE, "availableReplicas": 0}, "0 of 2 replicas available"),
    ],
)
def test_unfinished(status: dict[str, int], missing: str | None) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert rollout.unfinished(deployment) == missing


def test_pod_reasons_read_both_lists_of_containers() -> None:
    pod = {
        "metadata": {"name": "web-1"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "initContainerStatuses": [{"name": "istio-proxy", "ready": False, "state": {"running": {}}}],
            "containerStatuses": [
                {
                    "name": "web",
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
                },
                {"name": "fine", "ready": True, "state": {"running": {}}},
            ],
        },
    }
    assert rollout.pod_reasons(pod) == [
        "web-1/istio-proxy: running, not ready",
        "web-1/web: ImagePullBackOff no such image",
    ]


def test_an_unscheduled_pod_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    pod = {"metadata": {"name": "web-1"}, "status": {"phase": "Pending", "conditions": [condition]}}
    assert rollout.pod_reasons(pod) == ["web-1: PodScheduled is false: Unschedulable 0/1 nodes"]
    silent = {"metadata": {"name": "web-1"}, "status": {"phase": "Pending"}}
    assert rollout.pod_reasons(silent) == ["web-1: no component has reported anything yet"]


def test_pods_with_the_same_reason_are_named_once() -> None:
    def pod(name: str) -> dict[str, object]:
        waiting = {"name": "web", "state": {"waiting": {"reason": "ErrImagePull", "message": "no: such"}}}
        conditions = [{"type": "PodScheduled", "status": "True"}]
        status = {"conditions": conditions, "containerStatuses": [waiting]}
        return {"metadata": {"name": name}, "status": status}

    assert rollout.reasons([pod("web-2"), pod("web-1"), pod("web-3")]) == [
        "web-1/web and 2 more: ErrImagePull no: such"
    ]
