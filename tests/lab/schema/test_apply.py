"""Server-side apply and field ownership."""

from __future__ import annotations

import pytest

from meshlib.lab.schema import ApplyConflict, KindRef, apply, track

CONFIG_MAP = KindRef("", "v1", "ConfigMap")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def rota(**data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rota"}, "data": data}


def test_another_manager_may_not_change_what_ann_owns() -> None:
    live = apply(CONFIG_MAP, None, rota(monday="ann"), manager="ann", force=False, now=NOW)
    with pytest.raises(ApplyConflict) as caught:
        apply(CONFIG_MAP, live, rota(monday="ben"), manager="ben", force=False, now=NOW)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "ann": .data.monday'
    assert caught.value.causes[0].message == 'conflict with "ann"'
    assert live["data"] == {"monday": "ann"}


def test_what_a_manager_stops_applying_goes_if_no_one_else_owns_it() -> None:
    live = apply(CONFIG_MAP, None, rota(monday="ann", tuesday="ben"), manager="ann", force=False, now=NOW)
    live = apply(CONFIG_MAP, live, rota(monday="ben", sunday="ben"), manager="ben", force=True, now=NOW)
    live = apply(CONFIG_MAP, live, rota(wednesday="ann"), manager="ann", force=False, now=LATER)
    assert live["data"] == {"monday": "ben", "sunday": "ben", "wednesday": "ann"}


def test_a_conflict_with_an_update_names_its_version() -> None:
    live = rota(monday="ann", tuesday="ann")
    track(CONFIG_MAP, None, live, manager="kubectl-create", operation="Update", now=NOW)
    with pytest.raises(ApplyConflict) as caught:
        apply(CONFIG_MAP, live, rota(monday="x", tuesday="x"), manager="ben", force=False, now=NOW)
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "kubectl-create" using v1:\n- .data.monday'
        "\n- .data.tuesday"
    )
