"""What stands behind a proxy's SDS names: its certificate, the mesh's root, Secrets that Gateways name."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import certifi

from meshlib.lab.istiod import credentials, metrics
from meshlib.lab.istiod.ca import Authority, Issued
from meshlib.lab.istiod.translate import Proxy, SecretReference, World, mesh_config

LOG = logging.getLogger("istiod.sds")

Obj = dict[str, Any]


class SecretSource:
    """Makes SDS resources; gives the very same object as long as nothing behind it has changed."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._issued: dict[tuple[str, str], Issued] = {}
        self._made: dict[tuple[str, ...], tuple[tuple[object, ...], Obj | None]] = {}

    def resource(self, world: World, proxy: Proxy, name: str, reference: SecretReference) -> Obj | None:
        """The SDS resource `name` without `@type`; None, the reason being logged, when it cannot be had."""
        if reference.kind == "workload":
            issued = self._workload(mesh_config(world).trust_domain, proxy)
            return self._remember(
                (proxy.uid, name), (issued,), lambda: _pair(name, issued.chain_pem, issued.key_pem)
            )
        if reference.kind == "root":
            root = self.authority.root_pem
            return self._remember(("root", name), (root,), lambda: _root(name, root))
        if reference.kind == "system":
            return self._remember(("system", name), (), lambda: _system(name))
        if reference.kind == "files":
            return self._remember((proxy.uid, name), (), _no_files)
        own = world.get("Secret", reference.namespace, reference.name)
        key = (reference.kind, reference.namespace, name)
        if reference.kind == "certificate":
            return self._remember(key, (own,), lambda: credentials.certificate(name, own))
        ca = world.get("Secret", reference.namespace, f"{reference.name}-cacert")
        return self._remember(key, (own, ca), lambda: credentials.authority(name, own, ca))

    def renew_in_s(self) -> float:
        """Seconds until the next workload certificate is at half of its life; at most an hour."""
        due = min((issued.renew_at for issued in self._issued.values()), default=None)
        if due is None:
            return 3600.0
        return min(3600.0, max(0.0, (due - datetime.now(UTC)).total_seconds()))

    def forget(self, proxy: Proxy) -> None:
        """Drop what was made for a proxy that is gone."""
        for key in [key for key in self._issued if key[0] == proxy.uid]:
            del self._issued[key]
        for made in [made for made in self._made if made[0] == proxy.uid]:
            del self._made[made]

    def _workload(self, trust_domain: str, proxy: Proxy) -> Issued:
        key = (proxy.uid, trust_domain)
        issued = self._issued.get(key)
        if issued is None or issued.due():
            issued = self.authority.workload(trust_domain, proxy.namespace, proxy.service_account)
            self._issued[key] = issued
            metrics.ISSUED.inc()
        return issued

    def _remember(
        self, key: tuple[str, ...], sources: tuple[object, ...], build: Callable[[], Obj]
    ) -> Obj | None:
        before = self._made.get(key)
        if before is not None and all(a is b for a, b in zip(before[0], sources, strict=True)):
            return before[1]
        try:
            made: Obj | None = build()
        except credentials.Unusable as error:
            LOG.error("failed to fetch %s: %s", key[-1], error)
            made = None
        self._made[key] = (sources, made)
        return made


def _pair(name: str, chain_pem: str, key_pem: str) -> Obj:
    return {
        "name": name,
        "tls_certificate": {
            "certificate_chain": {"inline_string": chain_pem},
            "private_key": {"inline_string": key_pem},
        },
    }


def _root(name: str, pem: str) -> Obj:
    return {"name": name, "validation_context": {"trusted_ca": {"inline_string": pem}}}


def _system(name: str) -> Obj:
    """The authorities that this machine trusts; where it has no bundle, those that certifi carries."""
    path = ssl.get_default_verify_paths().cafile or certifi.where()
    return {"name": name, "validation_context": {"trusted_ca": {"filename": path}}}


def _no_files() -> Obj:
    raise credentials.Unusable("certificates in files of the pod are not supported by the embedded lab")
