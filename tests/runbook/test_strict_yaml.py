"""Nothing in a file of parameters is bent on the way in."""

from pathlib import Path

import pytest

from meshlib.runbook import strict_yaml


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("host: NO", 'YAML reads NO as a truth value; write host: "NO"'),
        ("greeting: on", "a truth value"),
        ("greeting: 12:30", "a whole number"),
        ("istio_version: 1.10", 'write istio_version: "1.10"'),
        ("greeting: 2026-11-23", "a date"),
        ("greeting: 1_000", "a whole number"),
        ("greeting: ~", "nothing"),
        ("greeting:", 'write "" for an empty string'),
        ("replicas: 010", "is read by YAML as 8; accepted: a whole number, 1 to 20 pods"),
        ("replicas: 0x3", "is read by YAML as 3"),
        ("replicas: 1_0", "is read by YAML as 10"),
        ("replicas: 12:30", "is read by YAML as 750"),
        ('replicas: "3"', "in quotes is a string"),
        ("replicas: 2.0", "is not whole"),
        ("replicas: 21", "1 to 20 pods"),
        ("replicas: [1]", "this is a list"),
        ("replicas: !!python/name:os.system", "the tag"),
        ("load_rate: 1e3", "is not a number to YAML 1.1"),
        ("load_rate: .inf", "is read by YAML as inf"),
        ("load_rate: .nan", "is read by YAML as nan"),
        ("read_only: yes", "accepted: true or false"),
        ("read_only: off", "accepted: true or false"),
        ('read_only: "true"', "in quotes is a string"),
        ("replcas: 3", "did you mean replicas?"),
        ("on: 3", "YAML reads this key as a truth value"),
        ("<<: {replicas: 2}", "reads this key as no name"),
        ("? [a]\n: 1", "this key"),
    ],
)
def test_a_trap_is_named_with_file_line_key_and_what_is_accepted(line: str, says: str) -> None:
    values, found = strict_yaml.parse(f"# a comment\n{line}\n", "p.yaml")
    assert values == {}
    (finding,) = found
    assert finding.startswith("p.yaml:2: ")
    assert says in finding


def test_all_findings_come_at_once_and_good_values_survive() -> None:
    values, found = strict_yaml.parse("replicas: 3\nhots: x\nreplicas: 4\nread_only: NO\n", "p.yaml")
    assert values == {"replicas": 3}
    assert [f.split(": ")[:2] for f in found] == [
        ["p.yaml:2", "hots"],
        ["p.yaml:3", "replicas"],
        ["p.yaml:4", "read_only"],
    ]
    assert "first on line 1" in found[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "name: value"),
        ("a: [\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "second"),
        ("a: b: c\n", "not YAML"),
    ],
)
def test_a_file_of_another_shape_is_one_finding(text: str, says: str) -> None:
    values, (finding,) = strict_yaml.parse(text, "p.yaml")
    assert values == {}
    assert says in finding


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    assert "No such file" in strict_yaml.read(tmp_path / "none.yaml")[1][0]
    (tmp_path / "latin.yaml").write_bytes(b"greeting: caf\xe9\n")
    assert "UTF-8" in strict_yaml.read(tmp_path / "latin.yaml")[1][0]


def test_an_empty_file_means_the_defaults() -> None:
    assert strict_yaml.parse("# nothing\n", "p.yaml") == ({}, [])
