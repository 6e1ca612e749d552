"""Who may talk to whom inside the mesh: pure builders of the policies and of a small place to try them, and
the identity in a request's headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from meshlib.istio import callers, objects
from meshlib.istio.objects import SECURITY, Obj
from meshlib.parameters import Config

LEDGER, INSIDE, OUTSIDE, GATEWAY = "ledger", "till", "stranger", "ledger-trial"
"""The server that is protected, the client with a sidecar, the one without, the Gateway's name."""
PORT = 8000  # of the server's Service: in a lab, an ordinary user cannot bind a ClusterIP's port below 1024
NOBODY = "nobody: no certificate, so no identity"
NO_ECHO = "not shown: this image has no page /headers that echoes as JSON"
XFCC = "x-forwarded-client-cert"
_PART = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^;,]*)')


def _object(kind: str, name: str, namespace: str, app: str, spec: Mapping[str, Any]) -> Obj:
    return {
        "apiVersion": SECURITY,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


def host(cfg: Config) -> str:
    """The name under which the gateway publishes the protected server for the trial."""
    return f"ledger.{cfg.host}"


def server(cfg: Config) -> str:
    """The protected server as pods of the cluster name it."""
    return f"http://{LEDGER}.{cfg.namespace}.svc.cluster.local:{PORT}"


def place(cfg: Config) -> list[Obj]:
    """A server of its own with the workload's image, two clients, and the way in through the gateway.

    The published site is not touched, whatever the policies do.
    """
    greeting = objects.config_map(LEDGER, cfg.namespace, {objects.GREETING_FILE: "the ledger"})
    server = objects.deployment(
        LEDGER, cfg.namespace, image=cfg.image, replicas=1, port=cfg.container_port, config=LEDGER
    )
    hosts, backend = [host(cfg)], {"host": LEDGER, "port": {"number": PORT}}
    return [
        objects.service_account(LEDGER, cfg.namespace),
        greeting,
        server,
        objects.service(LEDGER, cfg.namespace, port=PORT),
        *callers.deployment(INSIDE, cfg.namespace, image=cfg.client_image, sidecar=True),
        *callers.deployment(OUTSIDE, cfg.namespace, image=cfg.client_image, sidecar=False),
        objects.gateway(GATEWAY, cfg.namespace, hosts=hosts, credential=cfg.credential_name),
        objects.virtual_service(
            GATEWAY,
            cfg.namespace,
            hosts=hosts,
            gateways=[GATEWAY],
            http=[{"route": [{"destination": backend}]}],
        ),
    ]


def peer_authentication(name: str, namespace: str, *, app: str, mode: str) -> Obj:
    """What the sidecars of `app` accept: PERMISSIVE (mutual TLS and plaintext), STRICT or DISABLE."""
    return _object("PeerAuthentication", name, namespace, app, {"mtls": {"mode": mode}})


def authorization_policy(name: str, namespace: str, *, app: str, rules: Sequence[Obj]) -> Obj:
    """An ALLOW policy for `app`; without rules nothing matches it, so everything is denied."""
    spec = {"action": "ALLOW", **({"rules": list(rules)} if rules else {})}
    return _object("AuthorizationPolicy", name, namespace, app, spec)


def rule(
    *,
    principals: Sequence[str] = (),
    request_principals: Sequence[str] = (),
    methods: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> Obj:
    """One rule: all that is given must hold; of each list one entry is enough."""
    source = {"principals": list(principals), "requestPrincipals": list(request_principals)}
    operation = {"methods": list(methods), "paths": list(paths)}
    made: Obj = {}
    if any(source.values()):
        made["from"] = [{"source": {key: values for key, values in source.items() if values}}]
    if any(operation.values()):
        made["to"] = [{"operation": {key: values for key, values in operation.items() if values}}]
    return made


def request_authentication(
    name: str, namespace: str, *, app: str, issuer: str, audience: str, jwks: str
) -> Obj:
    """Tokens of `issuer` for `audience`, verified with the keys in `jwks`; who sends none still gets in."""
    rules = [{"issuer": issuer, "audiences": [audience], "jwks": jwks}]
    return _object("RequestAuthentication", name, namespace, app, {"jwtRules": rules})


def principal(trust_domain: str, namespace: str, account: str) -> str:
    """A service account's identity as an AuthorizationPolicy names it: without `spiffe://`."""
    return f"{trust_domain}/ns/{namespace}/sa/{account}"


def forwarded(header: str) -> list[dict[str, str]]:
    """The elements of an X-Forwarded-Client-Cert header, one a hop, the nearest last: key → value."""
    hops = []
    for element in re.split(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', header):
        parts = {key: value.strip('"') for key, value in _PART.findall(element)}
        if parts:
            hops.append(parts)
    return hops


def caller(status: int, echo: str) -> str:
    """Whom the server saw, from its answer to /headers: `spiffe://…`, `NOBODY` or `NO_ECHO`."""
    try:
        headers = json.loads(echo)
    except ValueError:
        return NO_ECHO
    if status != 200 or not isinstance(headers, dict):
        return NO_ECHO
    values = {str(name).lower(): str(value) for name, value in headers.items()}
    hops = forwarded(values.get(XFCC, ""))
    return hops[-1].get("URI", NOBODY) if hops else NOBODY
