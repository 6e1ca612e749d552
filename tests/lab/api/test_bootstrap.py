"""What every cluster has from the start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from meshlib.lab.api.allocation import Allocator
from meshlib.lab.api.bootstrap import CRDS, MANAGER, bootstrap
from meshlib.lab.api.kind_table import KINDS
from meshlib.lab.api.registry import Registry
from meshlib.lab.api.store import Store
from meshlib.lab.api.writes import Write

Obj = dict[str, Any]


def lasting(crd: Obj) -> Obj:
    """A definition without what differs from one creation to the next."""
    meta = {key: crd["metadata"][key] for key in ("name", "generation")}
    owners = [
        {key: value for key, value in each.items() if key != "time"}
        for each in crd["metadata"]["managedFields"]
    ]
    conditions = [{**each, "lastTransitionTime": ""} for each in crd["status"]["conditions"]]
    return {
        **crd,
        "metadata": {**meta, "managedFields": owners},
        "status": {**crd["status"], "conditions": conditions},
    }


def test_definitions_are_stored_as_the_ordinary_path_would_store_them(tmp_path: Path) -> None:
    async def both() -> list[tuple[Obj, Obj]]:
        registry = Registry(Store(tmp_path / "a.db"), Allocator())
        await bootstrap(registry)
        other = Registry(Store(tmp_path / "b.db"), Allocator())
        kind, pairs = KINDS.resource(CRDS), []
        for direct in registry.list(CRDS):
            new = {"metadata": {"name": direct["metadata"]["name"]}, "spec": direct["spec"]}
            made = await other.writer.create(kind, None, new, Write(MANAGER, system=True))

            def accept(live: Obj, status: Obj = direct["status"]) -> None:
                live["status"] = status

            made = await other.modify(
                CRDS, None, made["metadata"]["name"], accept, subresource="status", manager=MANAGER
            )
            pairs.append((direct, made))
        return pairs

    pairs = asyncio.run(both())
    assert len(pairs) == sum(kind.custom for kind in KINDS)
    for direct, made in pairs:
        assert lasting(direct) == lasting(made)
        assert direct["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path / "a.db"), Allocator())
    asyncio.run(bootstrap(registry))
    before = registry.store.version
    asyncio.run(bootstrap(registry))
    assert registry.store.version == before
