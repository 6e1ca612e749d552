"""Defaults and the form that built-in objects take."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.lab.schema import KindRef, default
from meshlib.lab.schema.quantity import canonical_quantity

DEPLOYMENT = KindRef("apps", "v1", "Deployment")
SERVICE = KindRef("", "v1", "Service")
POD = KindRef("", "v1", "Pod")


def defaulted(kind: KindRef, obj: dict[str, Any]) -> dict[str, Any]:
    default(kind, obj)
    again = copy.deepcopy(obj)
    default(kind, again)
    assert again == obj
    return obj


def test_a_deployment() -> None:
    obj = defaulted(
        DEPLOYMENT,
        {
            "metadata": {"name": "till", "creationTimestamp": None},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "till"}},
                "strategy": {},
                "template": {
                    "metadata": {"labels": {"app": "till"}, "creationTimestamp": None},
                    "spec": {
                        "containers": [
                            {"name": "till", "image": "till", "ports": [{"containerPort": 81}], "env": []}
                        ]
                    },
                },
            },
        },
    )
    assert obj == {
        "metadata": {"name": "till"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "till"}},
            "template": {
                "metadata": {"labels": {"app": "till"}},
                "spec": {
                    "containers": [
                        {
                            "name": "till",
                            "image": "till",
                            "ports": [{"containerPort": 81, "protocol": "TCP"}],
                            "resources": {},
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "File",
                            "imagePullPolicy": "Always",
                        }
                    ],
                    "restartPolicy": "Always",
                    "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst",
                    "securityContext": {},
                    "schedulerName": "default-scheduler",
                },
            },
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
        "status": {},
    }


def test_a_pod_has_what_a_template_has_not() -> None:
    spec = {"containers": [{"name": "a", "image": "a:1", "resources": {"limits": {"cpu": 0.5}}}]}
    obj = defaulted(POD, {"metadata": {}, "spec": spec})
    assert obj["spec"]["enableServiceLinks"] is True
    assert obj["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m"},
        "requests": {"cpu": "500m"},
    }


def test_probes_and_volumes() -> None:
    container = {"name": "a", "image": "a:1", "readinessProbe": {"httpGet": {"port": "http"}}}
    volumes = [{"name": "none"}, {"name": "conf", "configMap": {"name": "c"}}]
    obj = defaulted(POD, {"metadata": {}, "spec": {"containers": [container], "volumes": volumes}})
    assert obj["spec"]["containers"][0]["readinessProbe"] == {
        "httpGet": {"path": "/", "port": "http", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert obj["spec"]["volumes"] == [
        {"name": "none", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "c", "defaultMode": 420}},
    ]


@pytest.mark.parametrize(
    ("spec", "added"),
    [
        ({}, {"type": "ClusterIP", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None"}),
        (
            {"type": "LoadBalancer"},
            {
                "type": "LoadBalancer",
                "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": "Cluster",
                "allocateLoadBalancerNodePorts": True,
                "sessionAffinity": "None",
            },
        ),
        ({"type": "ExternalName"}, {"type": "ExternalName", "sessionAffinity": "None"}),
    ],
)
def test_services(spec: dict[str, Any], added: dict[str, Any]) -> None:
    assert defaulted(SERVICE, {"metadata": {}, "spec": spec}) == {
        "metadata": {},
        "spec": added,
        "status": {"loadBalancer": {}},
    }


def test_string_data_becomes_data() -> None:
    secret = {"metadata": {}, "data": {"a": "b2xk", "b": "b2xk"}, "stringData": {"a": "new"}}
    obj = defaulted(KindRef("", "v1", "Secret"), secret)
    assert obj == {"metadata": {}, "data": {"a": "bmV3", "b": "b2xk"}, "type": "Opaque"}


def test_a_service_port() -> None:
    obj = defaulted(SERVICE, {"metadata": {}, "spec": {"ports": [{"port": 80}]}})
    assert obj["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("1000m", "1"), (0.1, "100m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("500M", "500M"), ("0", "0"),
        ("1e3", "1e3"), ("1000", "1k"), ("0.5Gi", "512Mi"),
        (2, "2"), ("100n", "100n"), ("nonsense", "nonsense"),
    ],
)  # fmt: skip
def test_quantities(given_: Any, shown: str) -> None:
    assert canonical_quantity(given_) == shown
    assert canonical_quantity(shown) == shown


@given(st.from_regex(r"\A([0-9]{1,6}(\.[0-9]{1,4})?(m|k|M|G|e3)?|[0-9]{1,6}(Ki|Mi|Gi))\Z"))
def test_a_shown_quantity_is_its_own_form(text: str) -> None:
    shown = canonical_quantity(text)
    assert canonical_quantity(shown) == shown


def test_a_fraction_of_a_binary_unit_is_rounded_up_to_bytes() -> None:
    assert canonical_quantity("99.609Ki") == "102000"
