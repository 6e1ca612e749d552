"""Label selectors, field selectors and the words of Go's JSON decoder."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.lab.api import fields
from meshlib.lab.api.errors import StatusError
from meshlib.lab.api.gojson import syntax_error
from meshlib.lab.api.kind_table import KINDS
from meshlib.lab.api.selectors import from_object, parse_labels

LABELS = {"app": "web", "env": "prod", "n": "7"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,env=prod", True),
        ("app=web,env!=prod", False),
        ("tier!=back", True),
        ("app", True),
        ("!app", False),
        ("!tier", True),
        ("env in (dev, prod)", True),
        ("env notin (dev,prod)", False),
        ("tier notin (back)", True),
        ("env in ()", False),
        ("env in (dev", None),
        ("n>6,n<8", True),
        ("n>7", False),
        ("app=", False),
        ("in in (notin)", False),
    ],
)
def test_label_selectors(text: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(StatusError):
            parse_labels(text)
    else:
        assert parse_labels(text).holds(LABELS) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env in dev", "unable to parse requirement: found 'dev' expected: '('"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        (
            "n>x",
            'unable to parse requirement: values[0]: Invalid value: "x": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_what_cannot_be_read_is_said_as_the_server_says_it(text: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert caught.value.message == message


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    status = 0
    try:
        parse_labels(text)
    except StatusError as error:
        status = error.status
    assert status in (0, 400)


def test_selectors_of_objects() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}],
    }
    assert from_object(selector).holds(LABELS)
    assert from_object(None).holds({})
    assert not from_object({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}).holds(LABELS)


@pytest.mark.parametrize(
    ("resource", "text", "message"),
    [
        (
            "configmaps",
            "data.k=v",
            '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("pods", "spec.foo=v", "field label not supported: spec.foo"),
        ("gateways.networking.istio.io", "spec.foo=v", "field label not supported: spec.foo"),
        ("pods", "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_fields_that_cannot_be_selected_on(resource: str, text: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        fields.parse_for(KINDS.resource(resource), text)
    assert caught.value.message == message


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    kind = KINDS.resource("pods")
    assert fields.holds(fields.parse_for(kind, "status.phase=Running,spec.nodeName!=m"), pod)
    assert not fields.holds(fields.parse_for(kind, "metadata.name==b"), pod)
    assert fields.holds(fields.parse_for(kind, "spec.hostNetwork=false"), pod)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a": 1', "unexpected end of JSON input"),
        (b"{a}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"tru\n", "invalid character '\\n' in literal true (expecting 'e')"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\t"', "invalid character '\\t' in string literal"),
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
        (b"[" * 20_000, "exceeded max depth"),
    ],
)
def test_syntax_errors_in_the_words_of_go(body: bytes, message: str) -> None:
    assert syntax_error(body) == message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_json_has_no_syntax_error(value: object) -> None:
    assert syntax_error(json.dumps(value).encode()) == ""


@given(st.binary(max_size=30))
def test_the_scanner_agrees_with_python_on_what_is_json(body: bytes) -> None:
    try:
        json.loads(body.decode("ascii"))
    except ValueError:
        return
    if b"NaN" not in body and b"Infinity" not in body:
        assert syntax_error(body) == ""
