"""What the istiod process is told by its environment and finds out about its own pod."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshlib.errors import LabError

HTTP_PORT, MONITORING_PORT, WEBHOOK_PORT = 8080, 15014, 15017


@dataclass(frozen=True)
class Settings:
    """host: the pod's address; ports: declared → true ones; trace_sampling: PILOT_TRACE_SAMPLING, percent."""

    kubeconfig: Path
    xds_dir: Path
    host: str
    ports: Mapping[int, int]
    namespace: str
    pod: str
    trace_sampling: float

    def port(self, declared: int) -> int:
        """The true port for a declared one."""
        return self.ports.get(declared, declared)


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the variables that the kubelet and the Deployment set.

    Raises LabError naming the variable that is missing or wrong.
    """

    def need(name: str) -> str:
        value = environment.get(name)
        if not value:
            raise LabError(
                f"istiod needs the variable {name}", fix="start it through the lab: meshlib lab up"
            )
        return value

    sampling = environment.get("PILOT_TRACE_SAMPLING", "1.0")
    try:
        percent = float(sampling)
        ports = {int(k): int(v) for k, v in json.loads(environment.get("MESHLIB_PORTS", "{}")).items()}
    except ValueError as error:
        raise LabError(f"PILOT_TRACE_SAMPLING or MESHLIB_PORTS is wrong: {error}") from error
    return Settings(
        kubeconfig=Path(need("KUBECONFIG")),
        xds_dir=Path(need("MESHLIB_XDS_DIR")),
        host=environment.get("HOST") or need("POD_IP"),
        ports=ports,
        namespace=need("POD_NAMESPACE"),
        pod=need("POD_NAME"),
        # istiod takes a value out of bounds as if it were not there.
        trace_sampling=percent if 0 <= percent <= 100 else 1.0,
    )
