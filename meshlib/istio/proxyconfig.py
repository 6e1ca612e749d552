"""`istioctl proxy-config` as tables: what one proxy has, read from its admin port.

Secrets are shown by name and date; their content never is, and Envoy's own dump leaves private keys out.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from cryptography import x509

from meshlib.errors import ParameterError
from meshlib.istio import proxies
from meshlib.kube.client import Cluster, Obj


def table(cluster: Cluster, namespace: str, pod: str, kind: str) -> pd.DataFrame:
    """One table of a proxy: `listener`, `route`, `cluster`, `endpoint` or `secret`, istioctl's columns."""
    if kind not in TABLES:
        raise ParameterError([f"kind: {kind!r} is none of {', '.join(TABLES)}"])
    path, columns, rows = TABLES[kind]
    answer = proxies.admin(cluster, namespace, pod, path)
    return pd.DataFrame(sorted(rows(answer)), columns=columns.split("|"))


def _dumped(dump: Obj, *lists: str) -> Iterator[Obj]:
    for config in dump["configs"]:
        for name in lists:
            yield from config.get(name, [])


def clusters(dump: Obj) -> Iterator[tuple[str, ...]]:
    """Rows of `proxy-config cluster`."""
    for entry in _dumped(dump, "static_clusters", "dynamic_active_clusters"):
        each = entry["cluster"]
        parts = each["name"].split("|")
        istio = each.get("metadata", {}).get("filter_metadata", {}).get("istio", {})
        direction, port, subset, host = parts if len(parts) == 4 else ("-", "-", "-", each["name"])
        rule = _named(istio.get("config", ""))
        yield host, port or "-", subset or "-", direction, each.get("type", "STATIC"), rule


def _named(path: str) -> str:
    """`name.namespace` of a path such as /apis/networking.istio.io/v1/namespaces/ns/virtual-service/name."""
    parts = path.split("/")
    return f"{parts[-1]}.{parts[-3]}" if len(parts) > 3 else ""


def listeners(dump: Obj) -> Iterator[tuple[str, str, str, str]]:
    """Rows of `proxy-config listener`, one a filter chain."""
    for entry in _dumped(dump, "dynamic_listeners", "static_listeners"):
        found = entry.get("active_state", entry).get("listener")
        if not found:
            continue
        socket = found["address"]["socket_address"]
        for chain in found.get("filter_chains", []):
            yield socket["address"], str(socket["port_value"]), _match(chain), _leads(chain)


def _match(chain: Obj) -> str:
    match = chain.get("filter_chain_match", {})
    parts = []
    if names := match.get("server_names"):
        parts.append(f"SNI: {','.join(names)}")
    if transport := match.get("transport_protocol"):
        parts.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        parts.append(f"App: {','.join(protocols)}")
    if port := match.get("destination_port"):
        parts.append(f"Port: {port}")
    return "; ".join(parts) or "ALL"


def _leads(chain: Obj) -> str:
    for each in chain.get("filters", []):
        config = each.get("typed_config", {})
        if "rds" in config:
            return f"Route: {config['rds']['route_config_name']}"
        if "route_config" in config:
            return f"Inline Route: {config['route_config'].get('name', '')}"
        if "cluster" in config:
            return f"Cluster: {config['cluster']}"
    return "Non-HTTP/Non-TCP"


def routes(dump: Obj) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of `proxy-config route`; a virtual host without routes answers 404 to everything."""
    for entry in _dumped(dump, "dynamic_route_configs", "static_route_configs"):
        config = entry["route_config"]
        for host in config.get("virtual_hosts", []):
            domains = ", ".join(host.get("domains", []))
            for route in host.get("routes", []) or [None]:
                if route is None:
                    yield config.get("name", ""), host["name"], domains, "/*", "404"
                    continue
                istio = route.get("metadata", {}).get("filter_metadata", {}).get("istio", {})
                owner = _named(istio.get("config", ""))
                yield config.get("name", ""), host["name"], domains, _path(route["match"]), owner


def _path(match: Obj) -> str:
    if "prefix" in match:
        return f"{match['prefix']}*"
    if "path_separated_prefix" in match:
        return f"PathPrefix:{match['path_separated_prefix']}"
    return str(match.get("path") or f"regex {match.get('safe_regex', {}).get('regex', '')}")


def endpoints(answer: Obj) -> Iterator[tuple[str, str, str, str]]:
    """Rows of `proxy-config endpoint`."""
    for each in answer.get("cluster_statuses", []):
        for host in each.get("host_statuses", []):
            health = host.get("health_status", {})
            ejected = "FAILED" if health.get("failed_outlier_check") else "OK"
            yield _address(host["address"]), health.get("eds_health_status", "HEALTHY"), ejected, each["name"]


def _address(address: Obj) -> str:
    if socket := address.get("socket_address"):
        return f"{socket['address']}:{socket.get('port_value', 0)}"
    return f"unix://{address['pipe']['path']}" if "pipe" in address else "internal"


def secrets(dump: Obj) -> Iterator[tuple[str, ...]]:
    """Rows of `proxy-config secret`, one a certificate."""
    lists = {"dynamic_active_secrets": "ACTIVE", "dynamic_warming_secrets": "WARMING"}
    for place, state in lists.items():
        for entry in _dumped(dump, place):
            secret = entry.get("secret", {})
            kind = "CA" if "validation_context" in secret else "Cert Chain"
            chain = secret.get("tls_certificate", {}).get("certificate_chain")
            source = chain or secret.get("validation_context", {}).get("trusted_ca", {})
            yield entry["name"], kind, state, *_dates(pem(source))


def pem(source: Obj) -> str:
    """The text of a certificate in a dump (a DataSource), "" where Envoy does not show it."""
    if "inline_string" in source:
        return str(source["inline_string"])
    return base64.b64decode(source.get("inline_bytes", "")).decode(errors="replace")


def _dates(text: str) -> tuple[str, str, str, str]:
    try:
        cert = x509.load_pem_x509_certificates(text.encode())[0]
    except (ValueError, IndexError):
        return "false", "", "", ""
    begins, ends = cert.not_valid_before_utc, cert.not_valid_after_utc
    valid = begins <= datetime.datetime.now(datetime.UTC) <= ends
    return str(valid).lower(), f"{cert.serial_number:x}", ends.isoformat(), begins.isoformat()


TABLES: dict[str, tuple[str, str, Callable[[Any], Iterator[tuple[str, ...]]]]] = {
    "listener": ("/config_dump", "ADDRESSES|PORT|MATCH|DESTINATION", listeners),
    "route": ("/config_dump", "NAME|VHOST NAME|DOMAINS|MATCH|VIRTUAL SERVICE", routes),
    "cluster": ("/config_dump", "SERVICE FQDN|PORT|SUBSET|DIRECTION|TYPE|DESTINATION RULE", clusters),
    "endpoint": ("/clusters?format=json", "ENDPOINT|STATUS|OUTLIER CHECK|CLUSTER", endpoints),
    "secret": (
        "/config_dump",
        "RESOURCE NAME|TYPE|STATUS|VALID CERT|SERIAL NUMBER|NOT AFTER|NOT BEFORE",
        secrets,
    ),
}
"""kind → the admin path, istioctl's columns, and the function that makes rows of the answer."""
