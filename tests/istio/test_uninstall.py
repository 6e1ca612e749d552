"""What cleanup puts back and in which order it deletes."""

from __future__ import annotations

import atexit
from typing import Any

import pandas as pd

from meshlib.istio import faults, manifest, mesh, uninstall

TEXT = "# by hand\n" + manifest.mesh_config("1.30.5", "istio-system")


def test_a_mesh_configuration_of_others_comes_back_exactly_from_under_a_fault(api: Any) -> None:
    meta = {"name": "istio", "namespace": "istio-system", "annotations": {"team": "platform"}}
    api.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": TEXT, "other": "x"}})
    cluster, cfg = api.admin, api.config()
    edited = mesh.render(mesh.with_sampling(mesh.parse(TEXT), 1.0))
    mesh.write(cluster, "istio-system", mesh.read(cluster, "istio-system"), edited)
    broken = faults.start(cluster, cfg, 2)
    atexit.unregister(broken.revert)  # as after a kill: nobody reverts
    assert mesh.read(cluster, "istio-system").text == mesh.SEED_EDIT
    assert uninstall.restore_mesh(cluster, cfg) == "restored"
    now = cluster.get("configmaps", "istio", "istio-system")
    assert now["data"] == {"mesh": TEXT, "other": "x"}
    assert now["metadata"]["annotations"] == {"team": "platform"}
    assert uninstall.restore_mesh(cluster, cfg) == "it was not changed"


def test_without_a_mesh_configuration_there_is_nothing_to_put_back(api: Any) -> None:
    assert uninstall.restore_mesh(api.admin, api.config()) == "there is no mesh configuration"


def test_what_tells_whose_istiod_it_was_goes_last() -> None:
    names = [
        ("deployments.apps", "istiod"),
        ("clusterroles.rbac.authorization.k8s.io", "istiod-clusterrole-istio-system"),
        ("namespaces", "istio-system"),
        ("clusterrolebindings.rbac.authorization.k8s.io", "istiod-clusterrole-istio-system"),
    ]
    first, last = uninstall.in_two_goes(pd.DataFrame(names, columns=["Resource", "Name"]))
    assert first["Resource"].tolist() == ["deployments.apps", "namespaces"]
    assert len(first) + len(last) == len(names)


def test_copies_of_the_root_certificate_go_only_with_the_last_istiod_and_only_ours(api: Any) -> None:
    copy = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": uninstall.ROOT_CERT,
            "namespace": "default",
            "labels": {"istio.io/config": "true"},
        },
        "data": {"root-cert.pem": "x"},
    }
    api.add(copy)
    columns = ["Resource", "Namespace", "Name", "Run", "UID"]
    nothing = pd.DataFrame([], columns=columns)
    role = (uninstall.CLUSTER_ROLES, "", "istiod-clusterrole-istio-system", "", "1")
    ours = pd.DataFrame([role], columns=columns)
    assert uninstall.root_certificates(api.admin, api.config(), nothing) == 0
    assert uninstall.root_certificates(api.admin, api.config(), ours) == 1
    assert api.admin.find("configmaps", uninstall.ROOT_CERT, "default") is None
