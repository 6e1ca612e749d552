"""The life of a lab: start, use, kill, start again, stop; and every way in which it refuses to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from kubernetes import client, config

from meshlib import wait
from meshlib.errors import LabError
from meshlib.kube.client import connect
from meshlib.lab import cluster, state
from meshlib.lab.commands import lab
from meshlib.lab.kubelet.records import HOME

IMAGES = "till: {program: httpserver}\n"


def processes_of(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(HOME) == str(home) or str(home) in process.cmdline():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "lab"
    yield folder
    cluster.stop(folder)
    assert processes_of(folder) == []


def api(home: Path) -> client.ApiClient:
    return config.new_client_from_config(str(home / "kubeconfig"))


def deployment(replicas: int) -> dict[str, Any]:
    container = {
        "name": "till",
        "image": "till:1",
        "ports": [{"containerPort": 8081}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8081}},
    }
    return {
        "metadata": {"name": "till"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "till"}},
            "template": {"metadata": {"labels": {"app": "till"}}, "spec": {"containers": [container]}},
        },
    }


SERVICE = {
    "metadata": {"name": "till"},
    "spec": {"selector": {"app": "till"}, "ports": [{"port": 80, "targetPort": 8081}]},
}


def cluster_ips(core: client.CoreV1Api) -> dict[str, str]:
    return {
        each.metadata.name: each.spec.cluster_ip for each in core.list_namespaced_service("default").items
    }


def wait_available(apps: client.AppsV1Api, wanted: int) -> None:
    def probe() -> None:
        status = apps.read_namespaced_deployment("till", "default").status
        if (status.available_replicas or 0) != wanted or (status.replicas or 0) != wanted:
            raise wait.NotYet(f"{status.available_replicas} of {status.replicas} available")

    wait.until(probe, "the Deployment", timeout_s=20)


def wait_gone(found: state.ClusterState) -> None:
    def probe() -> None:
        if found.running:
            raise wait.NotYet("still there")

    wait.until(probe, "the control plane's end", timeout_s=5)


@pytest.mark.lab
def test_a_lab_lives_through_kill_and_restart(home: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.yaml"
    images.write_text(IMAGES)
    up = cluster.start(home, images=images)
    assert up.fresh
    assert cluster.start(home).state == up.state
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.glob("kubeconfig*")} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with api(home) as connection:
        apps, core = client.AppsV1Api(connection), client.CoreV1Api(connection)
        apps.create_namespaced_deployment("default", deployment(2))
        core.create_namespaced_service("default", SERVICE)
        wait_available(apps, 2)
        addresses = cluster_ips(core)
        assert set(addresses) == {"kubernetes", "till"}
        pods = core.list_namespaced_pod("default").items
        first = pods[0].status.container_statuses[0]
        os.kill(int(first.container_id.removeprefix("meshlib://pid-")), signal.SIGKILL)

        def restarted() -> None:
            found = core.read_namespaced_pod(pods[0].metadata.name, "default").status.container_statuses[0]
            if found.restart_count != 1 or not found.ready:
                raise wait.NotYet(f"restarts {found.restart_count}, ready {found.ready}")

        wait.until(restarted, "the restart", timeout_s=20)
        names = {each.metadata.name: each.status.pod_ip for each in pods}

    os.kill(up.state.pid, signal.SIGKILL)
    wait_gone(up.state)
    assert not cluster.status(home).ready
    again = cluster.start(home)
    assert again.server == up.server
    assert again.state.pid != up.state.pid
    with api(home) as connection:
        wait_available(client.AppsV1Api(connection), 2)
        pods = client.CoreV1Api(connection).list_namespaced_pod("default").items
        assert {each.metadata.name: each.status.pod_ip for each in pods} == names
        core = client.CoreV1Api(connection)
        assert cluster_ips(core) == addresses
        second = core.create_namespaced_service("default", {**SERVICE, "metadata": {"name": "second"}})
        assert second.spec.cluster_ip not in addresses.values()
        reached = [each.ip for each in core.read_namespaced_endpoints("till", "default").subsets[0].addresses]
        assert sorted(reached) == sorted(names.values())
    assert CliRunner().invoke(lab, ["logs", "--home", str(home), "till"]).output.count("listening on") >= 2
    again.stop()
    assert processes_of(home) == []
    assert (home / "state.db").exists()
    cluster.reset(home)
    assert not home.exists()


@pytest.mark.lab
def test_nothing_of_a_lab_is_for_others_to_read(home: Path) -> None:
    before = os.umask(0)
    try:
        with cluster.running(home):
            with api(home) as connection:
                spec = {"containers": [{"name": "c", "image": "curlimages/curl", "command": ["sleep", "60"]}]}
                core = client.CoreV1Api(connection)
                core.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": spec})
                wait.until(lambda: _is_phase(core, "p", "Running"), "the pod", timeout_s=20)
            files = [path for path in home.rglob("*") if not path.is_symlink()]
            assert any(path.name == "token" for path in files)
            open_to_others = [path for path in (home, *files) if path.lstat().st_mode & 0o077]
            assert open_to_others == []
    finally:
        os.umask(before)


def _is_phase(core: Any, name: str, phase: str) -> None:
    found = core.read_namespaced_pod(name, "default").status.phase
    if found != phase:
        raise wait.NotYet(found)


@pytest.mark.lab
def test_the_log_has_no_command_of_an_exec(home: Path) -> None:
    with cluster.running(home):
        with api(home) as connection:
            spec = {"containers": [{"name": "c", "image": "curlimages/curl", "command": ["sleep", "60"]}]}
            core = client.CoreV1Api(connection)
            core.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": spec})
            wait.until(lambda: _is_phase(core, "p", "Running"), "the pod", timeout_s=20)
        done = connect(home / "kubeconfig").execute("p", "default", ["echo", "hush-hush"], container="c")
        assert done.out == "hush-hush\n"
    assert "hush" not in (home / cluster.LOG).read_text()


@pytest.mark.lab
def test_two_labs_at_once(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with cluster.running(home) as first, cluster.running(other) as second:
        assert first.state.subnet != second.state.subnet
        assert first.server != second.server
        assert cluster.status(home).ready
        assert cluster.status(other).ready


@pytest.mark.lab
def test_a_port_in_use_is_told_and_nothing_is_left(home: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(LabError, match=f"127.0.0.1:{port}: the port is in use"):
            cluster.start(home, port=port)
    assert processes_of(home) == []


def test_a_stale_pid_of_a_stranger_is_left_alone(home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        state.make_home(home)
        old = state.ClusterState(
            stranger.pid, time.time() - 9999, "https://127.0.0.1:1", 9, False, "0", "v1", None
        )
        state.write(home, old)
        assert not cluster.status(home).ready
        assert not cluster.stop(home)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LabError, match="cannot be written"):
        cluster.start(tmp_path / "lab")


def test_a_home_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot be written"):
        cluster.start(tmp_path / "file" / "lab")


def test_a_wrong_images_file_is_refused_before_anything_starts(home: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.yaml"
    images.write_text("till: {program: nope}\n")
    with pytest.raises(LabError, match="there is no program 'nope'"):
        cluster.start(home, images=images)
    assert not (home / "cluster.json").exists()


def test_reset_removes_only_a_lab(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LabError, match="is not the home of a lab"):
        cluster.reset(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["logs", "pki", "pods"])
def test_a_folder_is_no_lab_by_a_name_that_others_use_too(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LabError, match="is not the home of a lab"):
        cluster.reset(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_lab_does_not_move_into_a_folder_in_use(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LabError, match=r"files in it that are no lab's, such as thesis\.txt"):
        cluster.start(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_reset_leaves_what_is_not_the_labs(home: Path) -> None:
    state.make_home(home)
    for name in (*state.MARKS, "kubeconfig", ".kubeconfig.7", ".cluster.json", "state.db-wal", "notes.md"):
        (home / name).write_text("")
    (home / "state.db").unlink()
    (home / "cluster.json").unlink()
    (home / "pods").symlink_to(home.parent)
    result = CliRunner().invoke(lab, ["reset", "--home", str(home), "--yes"])
    assert result.output == f"the lab of {home} is gone; notes.md stays\n"
    assert [path.name for path in home.iterdir()] == ["notes.md"]


def test_a_start_that_failed_can_be_reset(home: Path) -> None:
    state.make_home(home)
    cluster.reset(home)
    assert not home.exists()


def test_a_control_plane_is_known_after_the_clock_was_set(home: Path) -> None:
    state.make_home(home)
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "-m", state.MODULE, "--home", str(home)]
    with subprocess.Popen(argv) as process:
        at_s = time.time() - 3600
        known = state.ClusterState(
            process.pid, at_s, "https://127.0.0.1:1", 9, False, "0", "v1", None, str(home)
        )
        wait.until(lambda: _is_running(known), "the process", timeout_s=5)
        assert not replace(known, home=str(home / "other")).running
        process.kill()


def _is_running(known: state.ClusterState) -> None:
    if not known.running:
        raise wait.NotYet("not yet")


@pytest.mark.lab
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("state.db", "state.db: file is not a database"),
        ("pki/ca.key", "a key or certificate in .*pki cannot be used"),
        ("pki/sa.key", "a key or certificate in .*pki cannot be used"),
        ("pki/apiserver.crt", "the API server cannot serve"),
    ],
)
def test_a_broken_file_is_named_when_the_lab_starts(home: Path, name: str, why: str) -> None:
    cluster.start(home).stop()
    for left in home.glob("state.db-*"):
        left.unlink()
    (home / name).write_bytes(b"x" * 4096)
    if name == "pki/ca.key":
        (home / "pki" / "made-for").unlink()  # so that the CA is needed
    with pytest.raises(LabError, match=why) as refused:
        cluster.start(home)
    assert "Traceback" not in str(refused.value)
    assert refused.value.fix
    assert cluster.status(home).why == "it was stopped"


@pytest.mark.lab
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"pid": "x"}', b"\xff", None])
def test_a_lab_can_be_stopped_whatever_its_file_says(home: Path, content: bytes | None) -> None:
    up = cluster.start(home)
    kept = (home / "cluster.json").read_bytes()
    if content is None:
        (home / "cluster.json").unlink()
    else:
        (home / "cluster.json").write_bytes(content)
        with pytest.raises(LabError, match=r"cluster.json cannot be read(.|\n)*objects stay"):
            cluster.start(home)
    assert cluster.stop(home)
    wait_gone(up.state)
    assert cluster.start(home).fresh
    (home / "cluster.json").write_bytes(kept)
    cluster.reset(home)
    assert not home.exists()


def test_a_line_that_was_being_written_is_no_process(home: Path) -> None:
    home.mkdir()
    (home / "processes").write_bytes(b"x y\n12\n17 1e\n\xff\n")
    assert not cluster.stop(home)


def test_status_of_no_lab(home: Path) -> None:
    result = CliRunner().invoke(lab, ["status", "--home", str(home), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["why"] == "there is no lab here"
