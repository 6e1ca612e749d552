"""Protobuf bodies: small messages written by hand here, read by the table."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.lab.schema import ProtobufError, gofields, openapi, protobuf_to_obj
from meshlib.lab.schema.protobuf import MAGIC


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw)


def test_a_secret() -> None:
    metadata = (
        field(1, "s")
        + field(2, "")
        + field(8, field(1, 0) + field(2, 0))
        + field(11, field(1, "a") + field(2, "b"))
    )
    raw = (
        field(1, metadata)
        + field(2, field(1, "tls.key") + field(2, b"\x00\xff"))
        + field(3, "kubernetes.io/tls")
    )
    assert protobuf_to_obj(body("v1", "Secret", raw)) == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "s", "labels": {"a": "b"}},
        "data": {"tls.key": "AP8="},
        "type": "kubernetes.io/tls",
    }


def test_a_pointer_keeps_its_zero_and_inline_messages_stand_in_their_owner() -> None:
    probe = field(1, field(2, field(1, "/ready") + field(2, field(1, 1) + field(2, 0) + field(3, "http"))))
    container = field(1, "main") + field(2, "till:1") + field(8, b"") + field(11, probe)
    resources = field(1, field(1, "cpu") + field(2, field(1, "100m")))
    volume = field(1, "v") + field(2, field(19, field(1, field(1, "conf")) + field(3, 420)))
    pod = field(1, volume) + field(2, container + field(8, resources))
    template = field(1, b"") + field(2, pod)
    spec = field(1, 0) + field(3, template) + field(5, 0)
    obj = protobuf_to_obj(body("apps/v1", "Deployment", field(2, spec)))
    assert obj["spec"] == {
        "replicas": 0,
        "template": {
            "metadata": {},
            "spec": {
                "volumes": [{"name": "v", "configMap": {"name": "conf", "defaultMode": 420}}],
                "containers": [
                    {
                        "name": "main",
                        "image": "till:1",
                        "resources": {"limits": {"cpu": "100m"}},
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                    }
                ],
            },
        },
    }


def test_delete_options_of_any_group() -> None:
    raw = field(1, 0) + field(4, "Background") + field(5, "All")
    assert protobuf_to_obj(body("policy/v1", "DeleteOptions", raw)) == {
        "kind": "DeleteOptions",
        "apiVersion": "policy/v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
        "dryRun": ["All"],
    }


def test_every_field_of_the_table_is_a_field_of_its_definition() -> None:
    documented = set(openapi.definition_names())
    for name in gofields.names():
        if name in documented:
            assert set(gofields.json_fields(name)) <= set(openapi.definition(name).properties or {}), name
        numbers = [field.number for field in gofields.fields(name)]
        assert len(numbers) == len(set(numbers)), name


@pytest.mark.parametrize("bad", [b"", b"{}", MAGIC + b"\x0a\xff", MAGIC, body("v9", "Nothing", b"")])
def test_what_is_no_body_is_refused(bad: bytes) -> None:
    with pytest.raises(ProtobufError):
        protobuf_to_obj(bad)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ProtobufError):
        assert protobuf_to_obj(body("apps/v1", "Deployment", data))["kind"] == "Deployment"
