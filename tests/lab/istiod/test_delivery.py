from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshlib.lab.istiod.delivery import Delivery, Wanted


def content(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def wanted() -> Wanted:
    return Wanted(
        lds={"l": {"name": "l"}},
        cds={
            "c": {"name": "c", "type": "EDS", "eds_cluster_config": {}},
            "d": {"name": "d", "type": "STATIC"},
        },
        rds={"http.8080": {"name": "http.8080"}},
        eds={"c": {"cluster_name": "c"}},
        sds={"default": {"name": "default"}, "kubernetes://x": None},
    )


def test_every_resource_lands_in_its_file_with_type_and_version(tmp_path: Path) -> None:
    Delivery(tmp_path).push(wanted(), "v1")
    assert content(tmp_path, "rds/http.8080.json") == {
        "version_info": "v1",
        "resources": [
            {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "http.8080"}
        ],
    }
    assert (tmp_path / "sds").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "sds/default.json").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_cannot_be_had_is_an_empty_file(tmp_path: Path) -> None:
    Delivery(tmp_path).push(wanted(), "v1")
    [file] = [p for p in (tmp_path / "sds").iterdir() if p.name != "default.json"]
    assert json.loads(file.read_text())["resources"] == []


def test_endpoints_are_inside_their_cluster_and_change_with_it(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    given = wanted()
    delivery.push(given, "v1")
    [first, second] = content(tmp_path, "cds.json")["resources"]
    assert first["type"] == "STATIC"
    assert first["load_assignment"] == {"cluster_name": "c"}
    assert "eds_cluster_config" not in first
    assert "load_assignment" not in second
    given.eds = {"c": {"cluster_name": "c", "endpoints": []}}
    assert delivery.push(given, "v2") == ["cds"]
    assert not (tmp_path / "eds").exists()


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    assert sorted(delivery.push(wanted(), "v1")) == ["cds", "lds", "rds", "sds"]
    assert delivery.push(wanted(), "v2") == []
    changed = wanted()
    changed.rds = {"http.8080": {"name": "http.8080", "virtual_hosts": []}}
    assert delivery.push(changed, "v3") == ["rds"]
    assert content(tmp_path, "lds.json")["version_info"] == "v1"
    assert delivery.versions["rds"] == {"http.8080": "v3"}


def test_a_removed_cluster_stays_until_the_sweep(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    delivery.push(wanted(), "v1")
    less = wanted()
    less.cds, less.eds = {"d": {"name": "d"}}, {}
    delivery.push(less, "v2")
    assert [c["name"] for c in content(tmp_path, "cds.json")["resources"]] == ["d", "c"]
    assert delivery.sweep("v3")
    assert [c["name"] for c in content(tmp_path, "cds.json")["resources"]] == ["d"]
    assert not delivery.sweep("v4")


def test_a_cluster_that_comes_back_before_the_sweep_is_not_dropped(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    delivery.push(wanted(), "v1")
    less = wanted()
    less.cds, less.eds = {}, {}
    delivery.push(less, "v2")
    delivery.push(wanted(), "v3")
    delivery.sweep("v4")
    assert [c["name"] for c in content(tmp_path, "cds.json")["resources"]] == ["c", "d"]


def test_a_folder_that_was_emptied_is_filled_again(tmp_path: Path) -> None:
    delivery = Delivery(tmp_path)
    delivery.push(wanted(), "v1")
    (tmp_path / "lds.json").unlink()
    (tmp_path / "rds/http.8080.json").unlink()
    delivery.push(wanted(), "v2")
    assert (tmp_path / "rds/http.8080.json").exists()


def test_files_of_an_earlier_istiod_are_swept(tmp_path: Path) -> None:
    Delivery(tmp_path).push(wanted(), "v1")
    less = wanted()
    less.rds = {}
    later = Delivery(tmp_path)
    later.push(less, "v2")
    later.sweep("v2")
    assert not (tmp_path / "rds/http.8080.json").exists()
