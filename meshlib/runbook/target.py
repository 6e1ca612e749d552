"""The cluster of a run: a private lab that the runner starts and stops, one that is up, or a real one."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from meshlib import home
from meshlib.parameters import TABLE, Value
from meshlib.runbook import record
from meshlib.runbook.leash import Leash
from meshlib.runbook.supervise import Stopped, Supervisor


class Cluster:
    """What a run works on.  `env` is for the kernels; `lock_name` is what only one run may use at a time."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.env: dict[str, str] = {}
        name = str(values["kubeconfig"] or os.environ.get("KUBECONFIG") or "~/.kube/config")
        self.lock_name = f"{values['context']}@{Path(name).expanduser()}"
        self.record = record.Target(target=str(values["target"]), context=str(values["context"]))

    def start(self, supervisor: Supervisor) -> None:
        """Makes it ready; a cluster that is there already needs nothing."""

    def stop(self) -> None:
        """Gives back what `start` took."""

    def snapshot(self) -> dict[str, list[str]]:
        """The objects that the runbook is about, by kind; empty where the cluster does not answer."""
        return {}


class NamedLab(Cluster):
    """The embedded lab of $MESHLIB_HOME, which somebody else starts and stops."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.lock_name = str(home.lab_home())
        self.env = {home.ENV: self.lock_name}
        self.record.home = self.lock_name


class PrivateLab(Cluster):
    """An embedded lab of this run's own, in a temporary folder; nothing else can collide with it."""

    def __init__(self, values: Mapping[str, Value], keep: bool, leash: Leash) -> None:
        super().__init__(values)
        self.home = Path(tempfile.mkdtemp(prefix="meshlib-lab-"))
        self.keep, self.lock_name = keep, str(self.home)
        self.env = {home.ENV: str(self.home)}
        self.record.home, self.record.private, self.record.kept = str(self.home), True, keep
        self._cluster: Any = None
        if not keep:
            leash.tell(f"lab {self.home}")

    def start(self, supervisor: Supervisor) -> None:
        cluster = importlib.import_module("meshlib.lab.cluster")
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(cluster.start, self.home)
            self._cluster = supervisor.wait(starting, lambda why: None, lambda: None)
        if why := supervisor.why_stop():
            raise Stopped(why)

    def stop(self) -> None:
        if self.keep:
            return
        if self._cluster is not None:
            self._cluster.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def prepare(values: Mapping[str, Value], keep_lab: bool, leash: Leash) -> Cluster:
    """The cluster that the parameters name, not yet started."""
    if values["target"] == "kubeconfig":
        return Cluster(values)
    return NamedLab(values) if os.environ.get(home.ENV) else PrivateLab(values, keep_lab, leash)


def secrets(values: Mapping[str, Value]) -> list[str]:
    """The values behind parameters that name a secret, so that they can be masked."""
    names = [str(values[name]) for name, row in TABLE.items() if row.secret and values.get(name)]
    return [os.environ[name] for name in names if os.environ.get(name)]
