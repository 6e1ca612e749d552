"""Istio's objects against their schema and rules, in the words of the API server."""

# ruff: noqa: E501  the expected texts stand on one line each

from __future__ import annotations

from typing import Any

import pytest
import yaml

from meshlib.lab.schema import KindRef, check_fields, prune, validate

GATEWAY = KindRef("networking.istio.io", "v1", "Gateway")
SERVICE_ENTRY = KindRef("networking.istio.io", "v1", "ServiceEntry")
VIRTUAL_SERVICE = KindRef("networking.istio.io", "v1beta1", "VirtualService")
DESTINATION_RULE = KindRef("networking.istio.io", "v1", "DestinationRule")
PEER_AUTHENTICATION = KindRef("security.istio.io", "v1", "PeerAuthentication")
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def texts(kind: KindRef, spec: str) -> list[str]:
    return [str(each) for each in validate(kind, {"metadata": {"name": "a"}, "spec": yaml.safe_load(spec)})]


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (GATEWAY, "{servers: [{hosts: ['*']}]}", ["spec.servers[0].port: Required value", NOT_CHECKED]),
        (
            GATEWAY,
            "{servers: [{hosts: [a], port: {number: '80', name: a, protocol: HTTP}}]}",
            [
                'spec.servers[0].port.number: Invalid value: "string": spec.servers[0].port.number in body must be '
                'of type integer: "string"',
                NOT_CHECKED,
            ],
        ),
        (
            GATEWAY,
            "{servers: [{hosts: [a], port: {number: -1, name: a, protocol: HTTP}}]}",
            [
                "spec.servers[0].port.number: Invalid value: -1: spec.servers[0].port.number in body "
                "should be greater than or equal to 0",
            ],
        ),
        (
            PEER_AUTHENTICATION,
            "{mtls: {mode: LAX}}",
            [
                'spec.mtls.mode: Unsupported value: "LAX": supported values: "UNSET", "DISABLE", "PERMISSIVE", '
                '"STRICT"',
                NOT_CHECKED,
            ],
        ),
        (
            PEER_AUTHENTICATION,
            "{portLevelMtls: {'8080': {mode: DISABLE}}}",
            ["spec: Invalid value: portLevelMtls requires selector"],
        ),
        (
            PEER_AUTHENTICATION,
            "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}",
            [
                "spec.portLevelMtls: Invalid value: 0: spec.portLevelMtls in body should have at least 1 "
                "properties"
            ],
        ),
        (
            VIRTUAL_SERVICE,
            "{http: [{match: [{uri: {exact: /a, prefix: /b}}]}]}",
            [
                '<nil>: Invalid value: "": "spec.http[0].match[0].uri" must validate one and only one schema '
                "(oneOf). Found 2 valid alternatives"
            ],
        ),
        (
            VIRTUAL_SERVICE,
            "{http: [{timeout: 0.1ms}]}",
            ['spec.http[0].timeout: Invalid value: "0.1ms": must be a valid duration greater than 1ms'],
        ),
        (
            VIRTUAL_SERVICE,
            "{http: [{timeout: soon}]}",
            [
                "spec.http[0].timeout: Invalid value: \"string\": type conversion error from 'string' to "
                "'google.protobuf.Duration' evaluating rule: must be a valid duration greater than 1ms"
            ],
        ),
        (DESTINATION_RULE, "{}", ["spec.host: Required value", NOT_CHECKED]),
        (
            SERVICE_ENTRY,
            "{hosts: [], ports: [{name: a, number: 80}, {name: b, number: 80}]}",
            [
                "spec.hosts: Invalid value: 0: spec.hosts in body should have at least 1 items",
                "spec.ports: Invalid value: port number cannot be duplicated",
            ],
        ),
    ],
)
def test_what_the_schema_says(kind: KindRef, spec: str, expected: list[str]) -> None:
    assert texts(kind, spec) == expected


def test_a_missing_spec_is_fine_where_the_schema_does_not_ask_for_it() -> None:
    assert validate(GATEWAY, {"metadata": {"name": "a"}}) == []
    found = validate(SERVICE_ENTRY, {"metadata": {"name": "a"}})
    assert [str(each) for each in found] == ["spec: Required value", NOT_CHECKED]


def test_unknown_fields_are_named_and_dropped() -> None:
    obj: dict[str, Any] = yaml.safe_load(
        "{spec: {host: till, colour: red, subsets: [{name: v1, labels: {version: v1}, size: 3}]}}"
    )
    assert check_fields(DESTINATION_RULE, obj) == [
        'unknown field "spec.colour"',
        'unknown field "spec.subsets[0].size"',
    ]
    prune(DESTINATION_RULE, obj)
    assert obj == {"spec": {"host": "till", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}
