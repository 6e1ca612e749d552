"""The kubelet's pure parts: images, environment, volumes, probes' counting, back-off, status."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from meshlib.errors import LabError
from meshlib.lab.kubelet import environment, images, podspec, proxy, status, volumes
from meshlib.lab.kubelet.backoff import Backoff, restarts
from meshlib.lab.kubelet.probes import Counter
from meshlib.lab.kubelet.scheduler import obstacle

Obj = dict[str, Any]


def pod(**spec: Any) -> Obj:
    return {
        "metadata": {"name": "p", "namespace": "web", "uid": "u", "labels": {"app": "till"}},
        "spec": {"containers": [{"name": "main", "image": "till:1"}], **spec},
        "status": {"podIP": "127.7.1.1"},
    }


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("till", "till"),
        ("till:1", "till"),
        ("docker.io/library/till:1", "till"),
        ("docker.io/istio/proxyv2:1.30.3", "istio/proxyv2"),
        ("localhost:5000/shop/front@sha256:ab", "shop/front"),
        ("registry.istio.io/release/pilot:1.31.0", "release/pilot"),
        ("helenwami/gohttpserver:v1.3", "helenwami/gohttpserver"),
    ],
)
def test_repository(image: str, expected: str) -> None:
    assert images.repository(image) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: {program: nope}", "there is no program 'nope'"),
        ("a: {program: envoy}", "there is no program 'envoy'"),
        ("a: {}", "not a mapping"),
        ("a: {program: httpserver, command: [x]}", "exactly one of"),
        ("a: {command: x}", "command must be a list"),
        ('a: {command: ["{prt}"]}', "{prt} is no placeholder"),
        ("a: {program: httpserver, args: [x]}", "unknown key args"),
        ("- a", "must map image repositories"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_images_file_is_told(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(text)
    with pytest.raises(LabError) as caught:
        images.load_images(file)
    assert why in str(caught.value)
    assert str(file) in str(caught.value)


def test_environment_follows_order_and_expands() -> None:
    secret = {"data": {"word": "bmV3"}}
    found = {("secrets", "s"): secret}
    container = {
        "name": "main",
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(NOPE)-$$(A)"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": True}}},
            {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        ],
    }
    result = environment.resolve(pod(), container, lambda *key: found.get(key), {"BASE": "b"}, {})
    assert result == {"BASE": "b", "A": "1", "B": "1-$(NOPE)-$(A)", "C": "new", "E": "till"}


def test_a_missing_key_is_said_as_a_kubelet_says_it() -> None:
    wanted = {"secretKeyRef": {"name": "s", "key": "no"}}
    container = {"name": "main", "env": [{"name": "C", "valueFrom": wanted}]}
    with pytest.raises(environment.ConfigProblem, match="couldn't find key no in Secret web/s"):
        environment.resolve(pod(), container, lambda *_: {"data": {}}, {}, {})


def test_a_volume_changes_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert volumes.write(folder, {"a": volumes.File(b"1", 0o644), "b/c": volumes.File(b"2", 0o400)})
    assert (folder / "a").read_bytes() == b"1"
    before = (folder / "..data").resolve()
    assert not volumes.write(folder, {"a": volumes.File(b"1", 0o644), "b/c": volumes.File(b"2", 0o400)})
    assert volumes.write(folder, {"a": volumes.File(b"3", 0o644)})
    assert (folder / "a").read_bytes() == b"3"
    assert not (folder / "b").exists()
    assert not before.exists()
    assert (folder / "a").is_symlink()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ".."])
def test_a_file_that_leads_out_of_its_volume_is_not_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(volumes.MountProblem, match="leads out of the volume"):
        volumes.write(tmp_path / "v", {"fine": volumes.File(b"1", 0o644), path: volumes.File(b"2", 0o644)})
    assert list(tmp_path.rglob("*")) == []


def test_files_that_cannot_be_are_a_problem_of_the_mount(tmp_path: Path) -> None:
    with pytest.raises(volumes.MountProblem, match="cannot be written: File exists"):
        volumes.write(tmp_path / "v", {"a": volumes.File(b"1", 0o644), "a/b": volumes.File(b"2", 0o644)})


def test_projected_volumes_join_their_sources() -> None:
    volume = {
        "name": "v",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "root.crt"}]}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]
        },
    }
    found = volumes.contents(pod(), volume, lambda *_: {"data": {"ca.crt": "PEM"}}, {"": "jwt"}, {})
    assert {path: file.content for path, file in found.items()} == {
        "token": b"jwt",
        "root.crt": b"PEM",
        "ns": b"web",
    }
    assert found["token"].mode == 0o600


def test_a_secret_volume_is_never_readable_by_others() -> None:
    volume = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o644}}
    found = volumes.contents(pod(), volume, lambda *_: {"data": {"k": "eA=="}}, {}, {})
    assert found["k"].mode & 0o077 == 0


def test_an_unsupported_volume_is_refused() -> None:
    with pytest.raises(volumes.MountProblem, match="type nfs are not supported"):
        volumes.prepare(pod(), {"name": "v", "nfs": {}}, Path("/nowhere"), {})


def test_probe_thresholds() -> None:
    counter = Counter({"failureThreshold": 2, "successThreshold": 1}, initial=False)
    assert [counter.add(ok) for ok in (True, False, True, False, False, False)] == [
        True, False, False, False, True, False,
    ]  # fmt: skip
    assert counter.result is False


def test_back_off_doubles_and_forgets() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(7)] == [0, 10, 20, 40, 80, 160, 300]
    assert backoff.after(601) == 0
    assert restarts("Always", 0)
    assert restarts("OnFailure", 1)
    assert not restarts("OnFailure", 0)
    assert not restarts("Never", 1)


RUNNING = {"running": {"startedAt": "2026-11-23T03:00:00Z"}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}


def ended(code: int) -> Obj:
    return {"terminated": {"exitCode": code}}


@pytest.mark.parametrize(
    ("policy", "state", "last", "expected"),
    [
        ("Always", WAITING, {}, "Pending"),
        ("Always", RUNNING, {}, "Running"),
        ("Always", {"waiting": {"reason": "CrashLoopBackOff"}}, ended(1), "Running"),
        ("Never", ended(0), {}, "Succeeded"),
        ("Never", ended(2), {}, "Failed"),
        ("OnFailure", ended(2), {}, "Running"),
    ],
)
def test_phase(policy: str, state: Obj, last: Obj, expected: str) -> None:
    facts = status.PodFacts("h", "p", "t", {"main": status.ContainerFacts(state, last)})
    assert status.phase(pod(restartPolicy=policy), facts) == expected


def test_conditions_name_what_is_not_ready_and_keep_their_times() -> None:
    facts = status.PodFacts("h", "p", "t", {"main": status.ContainerFacts(RUNNING, started=True)})
    first = status.pod_status(pod(), facts, 0.0)
    ready = next(each for each in first["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [main]"
    facts.containers["main"].ready = True
    second = status.pod_status({**pod(), "status": first}, facts, 60.0)
    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}
    assert times["Ready"] == "1970-01-01T00:01:00Z"
    assert times["PodScheduled"] == "1970-01-01T00:00:00Z"


def test_a_proxy_is_known_by_image_and_arguments() -> None:
    router = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.30.3", "args": ["proxy", "router"]}
    assert podspec.proxy_role(router) == "router"
    assert podspec.proxy_role({**router, "args": ["istio-iptables"]}) is None
    assert podspec.proxy_role({**router, "image": "till"}) is None


def test_quality_of_service() -> None:
    def with_resources(resources: Obj) -> Obj:
        return pod(containers=[{"name": "main", "image": "till", "resources": resources}])

    assert podspec.qos_class(pod()) == "BestEffort"
    assert podspec.qos_class(with_resources({"requests": {"cpu": "10m"}})) == "Burstable"
    same = {"cpu": "1", "memory": "1Gi"}
    assert podspec.qos_class(
        with_resources({"limits": same, "requests": {"cpu": "1000m", "memory": "1024Mi"}})
    )
    assert podspec.qos_class(with_resources({"limits": same})) == "Guaranteed"


def test_what_does_not_fit_stays_pending_with_the_schedulers_words() -> None:
    node = {
        "metadata": {"labels": {"os": "linux"}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"}},
    }
    big = pod(containers=[{"name": "main", "image": "till", "resources": {"requests": {"cpu": "1500m"}}}])
    assert obstacle(big, node, []) is None
    assert obstacle(big, node, [big]) == "1 Insufficient cpu"
    nowhere = "1 node(s) didn't match Pod's node affinity/selector"
    assert obstacle(pod(nodeSelector={"os": "plan9"}), node, []) == nowhere

    def affine(*expressions: dict[str, Any]) -> dict[str, Any]:
        terms = [{"matchExpressions": [each]} for each in expressions] or [{}]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        return pod(affinity={"nodeAffinity": required})

    plan9 = {"key": "os", "operator": "In", "values": ["plan9"]}
    linux = {"key": "os", "operator": "NotIn", "values": ["plan9"]}
    assert obstacle(affine(plan9), node, []) == nowhere
    assert obstacle(affine(), node, []) == nowhere
    assert obstacle(affine(plan9, linux), node, []) is None


class _Gone:
    """The writer of a connection that uvloop has closed."""

    def __init__(self) -> None:
        self.closed = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    def close(self) -> None:
        self.closed = True


async def _pumped(writer: _Gone) -> None:
    reader = asyncio.StreamReader()
    reader.feed_eof()
    await proxy._pump(reader, cast(asyncio.StreamWriter, writer))


def test_a_connection_that_is_gone_is_no_error() -> None:
    writer = _Gone()
    asyncio.run(_pumped(writer))
    assert writer.closed
