"""An example or two for each command, as its `--help` ends."""

from __future__ import annotations

TO = "https://shop.test/ --cacert ca.crt --resolve shop.test:443:127.1.2.3"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "meshlib run --parameters parameters/embedded.yaml",
        "meshlib run --parameters parameters/embedded.yaml -p load_rate=500 --from 05",
        "meshlib run --parameters parameters/cluster.yaml -p context=kind-lab --plan",
    ),
    "report": ("meshlib report", "meshlib report 20261128T091500Z-3f9a"),
    "history": ("meshlib history --last 5",),
    "schedule": (
        "meshlib schedule systemd --parameters parameters/cluster.yaml --at 06:17",
        "meshlib schedule cronjob --parameters parameters/cluster.yaml | kubectl apply -f -",
    ),
    "prune": ("meshlib prune --keep 30",),
    "parameters": ("meshlib parameters", "meshlib parameters --format yaml > parameters/mine.yaml"),
    "lab": ("meshlib lab up && export KUBECONFIG=$(meshlib lab kubeconfig)",),
    "lab up": ("meshlib lab up", "meshlib lab up --images images.yaml --port 6443"),
    "lab down": ("meshlib lab down",),
    "lab reset": ("meshlib lab reset --yes",),
    "lab status": ("meshlib lab status --json",),
    "lab logs": ("meshlib lab logs --tail 50", "meshlib lab logs istio-system/istiod"),
    "lab kubeconfig": ("export KUBECONFIG=$(meshlib lab kubeconfig --read-only)",),
    "lab jupyter": ("meshlib lab jupyter --no-browser --port 8889",),
    "lab checkpoint": ("meshlib lab checkpoint --list", "meshlib lab checkpoint 05 --yes"),
    "diagnose": ("meshlib diagnose", "meshlib diagnose --url https://gohttpserver.io/metrics --json"),
    "load": (
        f"meshlib load {TO} --rate 500 -d 30",
        f"meshlib load {TO} --http 2 -c 1 -m 64 --out all.csv",
    ),
    "traces": (
        "meshlib traces --service istio-ingressgateway.istio-system --last 5m",
        "meshlib traces -s gohttpserver.httpserver-istio --tag http.status_code=503 --out spans.csv",
    ),
}


def text(command: str) -> str:
    """What ends the help of `command`; lines stay as they are."""
    lines = EXAMPLES[command]
    return "\n".join(["\b", f"Example{'s' if len(lines) > 1 else ''}:", *(f"  {line}" for line in lines)])
