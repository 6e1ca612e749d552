"""The table of parameters: nothing is guessed, everything wrong is said at once."""

import math

import pytest

from meshlib import parameters
from meshlib.errors import ParameterError

CELL = "replicas: int = 2  # how many\nhost: str = 'gohttpserver.io'\n"


def history(*cells: str) -> dict[str, object]:
    namespace: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "cell", "exec"), namespace)
    return {**namespace, "In": ["", *cells, "cfg = meshlib.parameters.validate(globals())"]}


def test_every_default_is_accepted_by_its_own_row() -> None:
    assert parameters.findings(parameters.defaults()) == []
    for row in parameters.TABLE.values():
        assert row.help, row.name
        assert row.help[0].isupper() or row.help.split()[0] in ("host",), row.name
        if row.pattern:
            assert row.pattern in parameters.PATTERNS, f"{row.name}: say in words what the pattern accepts"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("replicas", 0, "a whole number, 1 to 20 pods"),
        ("replicas", 21, "1 to 20"),
        ("replicas", True, "True is a truth value"),
        ("replicas", "3", "'3' is a string"),
        ("replicas", 2.0, "2.0 is a number"),
        ("read_only", 1, "true or false"),
        ("istio_version", 1.1, "put it in quotes"),
        ("istio_version", "1.30", "a version such as 1.30.5"),
        ("load_rate", math.nan, "nan"),
        ("sampling_percent", 100.5, "0 to 100 percent"),
        ("namespace", "Bad_Name", "a DNS label"),
        ("target", "minikube", "one of embedded, kubeconfig"),
        ("certificate_days", 399, "1 to 398 days"),
        ("image", "helenwami/gohttpserver", "an image with a tag"),
        ("replcas", 3, "did you mean replicas?"),
        ("host", None, "None is nothing"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(name: str, value: object, says: str) -> None:
    (finding,) = parameters.findings({name: value})
    assert finding.startswith(f"{name}: ")
    assert says in finding


def test_all_findings_come_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        parameters.complete({"replicas": 99, "hots": "x", "target": "kubeconfig"})
    assert [f.partition(":")[0] for f in caught.value.findings] == ["hots", "replicas", "context"]


def test_a_real_cluster_needs_its_context_confirmed_unless_read_only() -> None:
    real = {"target": "kubeconfig", "context": "prod"}
    assert "confirm_context" in parameters.findings({**parameters.defaults(), **real})[0]
    assert parameters.findings({**parameters.defaults(), **real, "read_only": True}) == []
    assert parameters.findings({**parameters.defaults(), **real, "confirm_context": "prod"}) == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("replicas", "3", 3),
        ("load_rate", "12e1", 120.0),
        ("read_only", "true", True),
        ("greeting", "007", "007"),
    ],
)
def test_the_command_line_is_typed_by_the_table(name: str, text: str, value: object) -> None:
    parsed = parameters.TABLE[name].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("replicas", "007"),
        ("replicas", "1_0"),
        ("replicas", "2.0"),
        ("read_only", "yes"),
        ("load_rate", "nan"),
    ],
)
def test_the_command_line_is_not_guessed_at(name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=f"^{name}: "):
        parameters.TABLE[name].parse(text)


def test_a_notebook_gets_what_it_declares_and_no_more() -> None:
    config = parameters.validate(history(CELL))
    assert config.as_dict() == {"replicas": 2, "host": "gohttpserver.io"}
    with pytest.raises(AttributeError, match="'namespace' is not declared in this notebook"):
        _ = config.namespace
    with pytest.raises(AttributeError, match="did you mean replicas"):
        _ = config.replica
    with pytest.raises(AttributeError):
        config.replicas = 3  # type: ignore[misc]


def test_an_injected_value_wins_and_is_checked() -> None:
    assert parameters.validate(history(CELL, "# Parameters\nreplicas = 5\n")).replicas == 5
    with pytest.raises(ParameterError, match="replicas: 'abc' is a string"):
        parameters.validate(history(CELL, "# Parameters\nreplicas = 'abc'\n"))


def test_an_injected_name_that_the_notebook_does_not_declare_is_an_error() -> None:
    with pytest.raises(ParameterError) as caught:
        parameters.validate(history(CELL, "# Parameters\nreplcas = 5\nnamespace = 'x'\n"))
    assert caught.value.findings == [
        "replcas: there is no such parameter; did you mean replicas?",
    ]


def test_later_variables_of_a_notebook_run_twice_are_no_parameters() -> None:
    again = history(CELL, "total = 3\nnamespace = 'mine'", CELL)
    assert set(parameters.validate(again).as_dict()) == {"replicas", "host"}


def test_whole_numbers_become_numbers_where_a_number_is_wanted() -> None:
    assert type(parameters.complete({"load_rate": 5}).load_rate) is float


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"greeting: 'a\\udcff' is not accepted"):
        parameters.TABLE["greeting"].parse("a\udcff")
    assert parameters.TABLE["greeting"].parse("🐟 ünïcode") == "🐟 ünïcode"
