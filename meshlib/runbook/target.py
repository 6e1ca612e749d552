"""The cluster of a run: a private lab that the runner starts and stops, one that is up, or a real one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from meshlib import home
from meshlib.lab import cluster as lab_cluster
from meshlib.parameters import TABLE, Config, Value
from meshlib.runbook import record
from meshlib.runbook.leash import Leash
from meshlib.runbook.masking import Masker
from meshlib.runbook.outputs import shortened
from meshlib.runbook.state import State
from meshlib.runbook.supervise import Stopped, Supervisor

if TYPE_CHECKING:
    from meshlib.runbook.eye import Eye


class Cluster:
    """What a run works on.  `env` is for the kernels; `lock_name` is what only one run may use at a time."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.env: dict[str, str] = {}
        name = str(values["kubeconfig"] or os.environ.get("KUBECONFIG") or "~/.kube/config")
        self.lock_name = f"{values['context']}@{Path(name).expanduser()}"
        self.record = record.Target(target=str(values["target"]), context=str(values["context"]))
        self._config = Config(values)

    @cached_property
    def eye(self) -> Eye:
        """What looks at the cluster; imports the Kubernetes client (0.5 s of CPU) when first asked for."""
        from meshlib.runbook.eye import Eye

        return Eye(self._config)

    def start(self, supervisor: Supervisor) -> None:
        """Makes it ready, and puts what it is into `record`."""
        self.record.server, self.record.kubernetes = self.eye.about()

    def save_logs(self, folder: Path, masker: Masker) -> None:
        """Keeps the logs that end with the cluster, as evidence of a run that did not pass."""

    def stop(self) -> None:
        """Gives back what `start` took."""

    def snapshot(self) -> State:
        """The objects that the runbook is about, by kind; empty where the cluster does not answer."""
        return self.eye.snapshot() if self.record.server else {}


class NamedLab(Cluster):
    """An embedded lab that somebody else starts and stops."""

    def __init__(self, values: Mapping[str, Value], folder: Path) -> None:
        super().__init__(values)
        self.lock_name = str(folder)
        self.env = {home.ENV: self.lock_name}
        self.record.home = self.lock_name

    def start(self, supervisor: Supervisor) -> None:
        if (Path(self.record.home) / "kubeconfig").exists():
            super().start(supervisor)


class PrivateLab(Cluster):
    """An embedded lab of this run's own, in a temporary folder; nothing else can collide with it."""

    def __init__(self, values: Mapping[str, Value], keep: bool, leash: Leash) -> None:
        super().__init__(values)
        self.home = Path(tempfile.mkdtemp(prefix="meshlib-lab-")).resolve()
        self.keep, self.lock_name = keep, str(self.home)
        self.env = {home.ENV: str(self.home)}
        self.record.home, self.record.private, self.record.kept = str(self.home), True, keep
        if not keep:
            leash.tell(f"lab {self.home}")

    def start(self, supervisor: Supervisor) -> None:
        os.environ[home.ENV] = str(self.home)  # the parameters' own kubeconfig_path asks for it
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(lab_cluster.start, self.home)
            _ = self.eye  # imported while the lab starts
            supervisor.wait(starting, lambda why: None, lambda: None)
        if why := supervisor.why_stop():
            raise Stopped(why)
        super().start(supervisor)

    def save_logs(self, folder: Path, masker: Masker) -> None:
        for path in (*self.home.glob("logs/*.log"), *self.home.glob("pods/*/logs/*.log*")):
            copy = folder / "lab-logs" / "-".join(path.relative_to(self.home).parts)
            copy.parent.mkdir(exist_ok=True)
            text = path.read_text(encoding="utf-8", errors="replace")
            copy.write_text(masker.text(shortened(text)), encoding="utf-8")

    def stop(self) -> None:
        os.environ.pop(home.ENV, None)
        if not self.keep:
            lab_cluster.stop(self.home)
            shutil.rmtree(self.home)


def prepare(
    values: Mapping[str, Value], keep_lab: bool, leash: Leash, earlier: record.Target | None
) -> Cluster:
    """The cluster that the parameters name, not yet started; `earlier` is the target of a run to resume."""
    if values["target"] == "kubeconfig":
        return Cluster(values)
    if os.environ.get(home.ENV):
        return NamedLab(values, home.lab_home())
    if earlier is not None and earlier.kept and Path(earlier.home).is_dir():
        os.environ[home.ENV] = earlier.home
        kept = NamedLab(values, Path(earlier.home))
        kept.record.kept = True  # so that a run that resumes this one finds the lab, too
        return kept
    return PrivateLab(values, keep_lab, leash)


def secrets(values: Mapping[str, Value]) -> list[str]:
    """The values behind parameters that name a secret, so that they can be masked."""
    names = [str(values[name]) for name, row in TABLE.items() if row.secret and values.get(name)]
    return [os.environ[name] for name in names if os.environ.get(name)]
