"""Pods as real processes: their lives, their ends, and what is said about them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshlib.lab.kubelet.images import Program

OnNode = Callable[..., None]


def test_a_killed_container_is_started_again_and_counted(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        probe = {"httpGet": {"path": "/healthz", "port": 8081}}
        await node.create("till", image="till:1", ports=[{"containerPort": 8081}], readinessProbe=probe)
        await node.until(lambda: node.state("till").get("ready"))
        first = node.pid("till")
        os.kill(first, signal.SIGKILL)
        await node.until(lambda: node.state("till")["restartCount"] == 1 and node.state("till")["ready"])
        ended = node.state("till")["lastState"]["terminated"]
        assert (ended["exitCode"], ended["signal"], ended["reason"]) == (137, 9, "Error")
        assert node.pid("till") != first
        assert node.kubelet.log_file(node.pod("till"), "main", True).exists()
        assert {"Scheduled", "Pulled", "Created", "Started"} <= node.reasons()

    on_node(body)


def test_a_crashing_container_backs_off(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("bad", command=["sh", "-c", "echo before the end; exit 3"])
        waiting = await node.until(lambda: node.state("bad")["state"].get("waiting"))
        waiting = await node.until(
            lambda: (
                (w := node.state("bad")["state"].get("waiting")) and w["reason"] == "CrashLoopBackOff" and w
            )
        )
        uid = node.pod("bad")["metadata"]["uid"]
        expected = f"back-off 10s restarting failed container=main pod=bad_default({uid})"
        assert waiting["message"] == expected
        assert node.state("bad")["restartCount"] == 1  # the first restart is at once
        assert node.state("bad")["lastState"]["terminated"]["exitCode"] == 3
        line = node.kubelet.log_file(node.pod("bad"), "main", False).read_text()
        assert line.endswith("Z before the end\n")
        assert line.index(" ") == 30
        assert node.pod("bad")["status"]["phase"] == "Running"

    on_node(body)


def test_an_image_that_is_no_reference(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("lost", image="UPPER/Case:1")
        await node.until(lambda: "InspectFailed" in node.reasons())
        waiting = node.state("lost")["state"]["waiting"]
        assert waiting["reason"] == "InvalidImageName"
        assert waiting["message"].endswith("repository name (UPPER/Case) must be lowercase")

    on_node(body)


def test_an_unknown_image_names_those_that_exist(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("lost", image="nobody/knows:1")
        await node.until(lambda: "BackOff" in node.reasons())
        waiting = node.state("lost")["state"]["waiting"]
        assert waiting["reason"] == "ImagePullBackOff"
        assert "helenwami/gohttpserver" in waiting["message"]
        assert "meshlib lab up --images FILE" in waiting["message"]

        def fix(pod: dict[str, Any]) -> None:
            pod["spec"]["containers"][0]["image"] = "till:2"

        await node.registry.modify("pods", "default", "lost", fix, manager="test")
        await node.until(lambda: "running" in node.state("lost")["state"])

    on_node(body)


def test_deleting_gives_the_grace_period_and_then_kills(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        deaf = "trap '' TERM; echo deaf; while true; do sleep 0.1; done"
        await node.create("deaf", command=["sh", "-c", deaf], terminationGracePeriodSeconds=1)
        log = await node.until(lambda: node.kubelet.log_file(node.pod("deaf"), "main", False))
        await node.until(lambda: log.exists() and "deaf" in log.read_text())
        began = asyncio.get_running_loop().time()
        await node.registry.delete("pods", "default", "deaf")
        assert "deletionTimestamp" in node.pod("deaf")["metadata"]
        await node.until(lambda: node.registry.find("pods", "default", "deaf") is None)
        assert 0.9 < asyncio.get_running_loop().time() - began < 3
        assert not log.exists()

    on_node(body)


def test_environment_volumes_and_arguments_reach_the_process(on_node: OnNode, tmp_path: Path) -> None:
    async def body(node: Any) -> None:
        data = {"metadata": {"name": "conf"}, "data": {"greeting": "hello", "COLOR": "red"}}
        await node.registry.create("configmaps", "default", data, manager="test")
        script = 'echo "$NAME $IP $COLOR $(cat $FOLDER/greeting)"; sleep 60'
        await node.create(
            "show",
            command=["sh", "-c", script],
            env=[
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "FOLDER", "value": "volumes/c"},
            ],
            envFrom=[{"configMapRef": {"name": "conf"}}],
            volumes=[{"name": "c", "configMap": {"name": "conf"}}],
            volumeMounts=[{"name": "c", "mountPath": "/etc/conf"}],
        )
        log = node.kubelet.log_file(node.pod("show"), "main", False)
        await node.until(lambda: log.exists() and log.read_text())
        pod = node.pod("show")
        assert log.read_text().split(" ", 1)[1] == f"show {pod['status']['podIP']} red hello\n"

        def repaint(live: dict[str, Any]) -> None:
            live["data"]["greeting"] = "bye"

        await node.registry.modify("configmaps", "default", "conf", repaint, manager="test")
        file = tmp_path / "pods" / pod["metadata"]["uid"] / "volumes" / "c" / "greeting"
        await node.until(lambda: file.read_text() == "bye")

    on_node(body)


def test_a_missing_config_map_holds_the_container_back(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("wait", image="till:1", envFrom=[{"configMapRef": {"name": "later"}}])
        waiting = await node.until(lambda: node.state("wait")["state"].get("waiting", {}).get("message"))
        assert waiting == 'configmap "later" not found'
        assert node.state("wait")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        await node.registry.create("configmaps", "default", {"metadata": {"name": "later"}}, manager="test")
        await node.until(lambda: "running" in node.state("wait")["state"])

    on_node(body)


def test_what_cannot_be_started_says_why(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("none", command=["/no/such/program"])
        last = await node.until(lambda: node.state("none")["lastState"].get("terminated"))
        assert (last["reason"], last["exitCode"]) == ("StartError", 128)
        assert 'exec: "/no/such/program": executable file not found' in last["message"]

    on_node(body)


def test_an_active_deadline_ends_the_pod(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("late", image="till:1", activeDeadlineSeconds=1)
        status = await node.until(lambda: (s := node.pod("late").get("status", {})).get("reason") and s)
        assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
        await node.until(lambda: "terminated" in node.state("late")["state"])

    on_node(body)


def test_liveness_restarts_and_says_why(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
        await node.create("ill", image="till:1", livenessProbe=probe, terminationGracePeriodSeconds=1)
        await node.until(lambda: node.state("ill")["restartCount"] >= 1)
        messages = {each["message"] for each in node.registry.list("events")}
        assert "Container main failed liveness probe, will be restarted" in messages

    on_node(body)


def test_init_containers_come_first_and_sidecars_leave_last(on_node: OnNode, tmp_path: Path) -> None:
    async def body(node: Any) -> None:
        trail = tmp_path / "trail"
        forever = "while true; do sleep 0.05; done"
        side = f"trap 'echo side gone >> {trail}; exit 0' TERM; echo side >> {trail}; {forever}"
        app = f"trap 'echo app gone >> {trail}; exit 0' TERM; echo app >> {trail}; {forever}"
        await node.create(
            "order",
            command=["sh", "-c", app],
            initContainers=[
                {
                    "name": "first",
                    "image": "tool",
                    "command": ["sh", "-c", f"sleep 0.1; echo first >> {trail}"],
                },
                {"name": "side", "image": "tool", "command": ["sh", "-c", side], "restartPolicy": "Always"},
            ],
        )
        await node.until(lambda: trail.exists() and "app" in trail.read_text())
        await node.until(lambda: node.pod("order")["status"]["phase"] == "Running")
        await asyncio.sleep(0.2)
        await node.registry.delete("pods", "default", "order")
        await node.until(lambda: node.registry.find("pods", "default", "order") is None)
        words = trail.read_text().splitlines()
        assert words[0] == "first"
        assert sorted(words[1:3]) == ["app", "side"]
        assert words[3:] == ["app gone", "side gone"]

    on_node(body)


def test_own_command_with_placeholders(on_node: OnNode) -> None:
    program = Program("command", (sys.executable, "-m", "http.server", "--bind", "{host}", "{port}"))

    async def body(node: Any) -> None:
        await node.create("mine", image="mine/server:3", ports=[{"containerPort": 8088}])
        address = await node.until(lambda: node.pod("mine").get("status", {}).get("podIP"))

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection(address, 8088)
            except OSError:
                return False
            writer.close()
            return True

        for _ in range(200):
            if await answers():
                return
            await asyncio.sleep(0.02)
        pytest.fail("the user's server does not listen at the pod's address")

    on_node(body, {"mine/server": program})


def test_a_job_runs_to_completion_and_another_to_its_limit(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        for name, code in (("good", 0), ("poor", 1)):
            template = {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "tool", "command": ["sh", "-c", f"exit {code}"]}],
                }
            }
            job = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}}
            await node.registry.create("jobs.batch", "default", job, manager="test")

        def ended(name: str) -> str:
            job = node.registry.get("jobs.batch", "default", name)
            return ",".join(each["type"] for each in (job.get("status") or {}).get("conditions") or [])

        await node.until(lambda: "Complete" in ended("good") and "Failed" in ended("poor"))
        assert node.registry.get("jobs.batch", "default", "good")["status"]["succeeded"] == 1
        assert "BackoffLimitExceeded" in node.reasons()
        good = node.registry.get("jobs.batch", "default", "good")
        selector = good["spec"]["selector"]["matchLabels"]
        assert len(node.registry.list("pods", "default", labels=selector)) == 1

    on_node(body)


def test_the_image_of_curl_has_a_curl_of_ours_that_knows_services_made_later(on_node: OnNode) -> None:
    async def body(node: Any) -> None:
        await node.create("client", command=["sleep", "60"], terminationGracePeriodSeconds=0)
        await node.until(lambda: "running" in node.state("client")["state"])
        ports = [{"port": 80}]
        service = {"metadata": {"name": "shop"}, "spec": {"selector": {"app": "shop"}, "ports": ports}}
        made = await node.registry.create("services", "default", service, manager="test")

        async def run(*argv: str) -> str:
            child = await node.kubelet.execute(node.pod("client"), "main", list(argv))
            out, _ = await child.communicate()
            return str(out.decode())

        assert "(embedded lab)" in await run("curl", "--version")
        address = made["spec"]["clusterIP"]
        names = "shop.default.svc.cluster.local shop.default.svc shop.default shop"
        assert f"{address} {names}\n" in await run("sh", "-c", 'cat "$MESHLIB_HOSTS"')

    on_node(body)
